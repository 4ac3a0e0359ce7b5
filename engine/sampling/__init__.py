"""Exact, seeded, schedule-free sampling: a token depends on its AR row, seed and position, and on nothing else."""
