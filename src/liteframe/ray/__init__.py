"""Caching on a Ray cluster: `jobs` is what a worker runs and needs no Ray, `driver` is the one module that does."""
