"""Benchmarks of the field, read as they are published: one file a benchmark, chosen in `registry`."""
