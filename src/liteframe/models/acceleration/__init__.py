"""What makes an encoder faster without a change to its weights: CUDA graphs, compiled layers, memory formats, float8."""
