"""Exact, seeded, schedule-free sampling: a token depends on its AR row, the seed and the position, and on nothing else."""
