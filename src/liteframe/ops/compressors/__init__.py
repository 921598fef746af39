"""Post-hoc compressors: pure functions from a video's features and a token budget to fewer tokens and their positions.

`registry` has them by name; each method is a file, which names its source and what was decided here.
"""
