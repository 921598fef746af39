"""What makes an encoder faster without a change to its weights: CUDA graphs, compiled layers, attention kernels."""
