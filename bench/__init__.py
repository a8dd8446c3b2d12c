"""Benchmarks: load generator, baselines, results with machine and method beside each number."""
