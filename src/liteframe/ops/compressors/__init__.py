"""Post-hoc compressors: pure functions from the features of one video and a token budget to fewer tokens and places.

`registry` has them by name; each method is a file, which names its source and what was decided here.
"""
