"""Which frames of a video to look at: the samplers that configs name, and the rules and times that they choose by."""

from __future__ import annotations

from liteframe.data.sampling.samplers import (
    FpsCapped,
    FrameSampler,
    KeyFrames,
    Linspace,
    RandomSegment,
    UniformMidpoints,
    is_known,
    sampler_from,
)

__all__ = [
    "FpsCapped",
    "FrameSampler",
    "KeyFrames",
    "Linspace",
    "RandomSegment",
    "UniformMidpoints",
    "is_known",
    "sampler_from",
]
