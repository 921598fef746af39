"""A student small enough to be compiled in a test."""

from __future__ import annotations

import torch

from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder


def small_student() -> LiteFrameEncoder:
    """Two downsampling layers of width 16 for frames of 28 x 28, with weights that are the same each time."""
    config = LiteFrameConfig(
        image_size=28,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        output_size=8,
        downsample_after=[1, 2],
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        student = LiteFrameEncoder(config).eval()
        for parameter in student.parameters():
            parameter.normal_(std=0.2)
    return student
