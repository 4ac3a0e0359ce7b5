"""Benchmarks: settings side by side in one run, on real prompts, as a table and as JSON."""
