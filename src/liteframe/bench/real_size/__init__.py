"""Latency at the paper's real shapes, with random weights: ``liteframe latency`` (see `command`)."""
