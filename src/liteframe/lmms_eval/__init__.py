"""liteframe as a model of lmms-eval, and its benchmarks as tasks of it; only `model` needs lmms-eval to be there."""
