"""Which frames of a video to look at: the samplers that configs name, and the rules and times that they choose by."""

from __future__ import annotations

from liteframe.data.sampling.even_samplers import FpsCapped, InnerPoints, Linspace, SegmentStarts, UniformMidpoints
from liteframe.data.sampling.frame_sampler import FrameSampler
from liteframe.data.sampling.random_samplers import JitteredUniform, KeyFrames, LogUniformSpacing, RandomSegment
from liteframe.data.sampling.samplers_by_name import is_known, sampler_from

__all__ = [
    "FpsCapped",
    "FrameSampler",
    "InnerPoints",
    "JitteredUniform",
    "KeyFrames",
    "Linspace",
    "LogUniformSpacing",
    "RandomSegment",
    "SegmentStarts",
    "UniformMidpoints",
    "is_known",
    "sampler_from",
]
