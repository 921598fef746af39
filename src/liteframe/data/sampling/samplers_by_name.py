"""Samplers as records, feature stores and processors write them down: a name and settings.

Torch-free, because decode processes import it.
"""

from __future__ import annotations

import reprlib
from dataclasses import fields
from typing import Any

from liteframe.data.sampling.even_samplers import FpsCapped, InnerPoints, Linspace, SegmentStarts, UniformMidpoints
from liteframe.data.sampling.frame_sampler import FrameSampler
from liteframe.data.sampling.random_samplers import JitteredUniform, KeyFrames, LogUniformSpacing, RandomSegment
from liteframe.errors import DataError, LiteFrameError

_BY_NAME: dict[str, type[FrameSampler]] = {
    kind.__name__: kind
    for kind in (
        UniformMidpoints,
        InnerPoints,
        SegmentStarts,
        Linspace,
        FpsCapped,
        RandomSegment,
        LogUniformSpacing,
        JitteredUniform,
        KeyFrames,
    )
}


def is_known(sampler: FrameSampler) -> bool:
    """Whether it is one of liteframe's own, which `sampler_from` finds by its name."""
    return _BY_NAME.get(type(sampler).__name__) is type(sampler)


def sampler_from(described: Any, where: str, fault: type[LiteFrameError] = DataError) -> FrameSampler | None:
    """The sampler that `describe` wrote down; None for one of another name, of which no code is looked for.

    Args:
        described: name and settings.
        where: file and field, for messages.
        fault: class of what is raised.

    Raises:
        LiteFrameError: of class `fault`, for settings that the sampler does not have.
    """
    if not isinstance(described, dict) or not isinstance(described.get("name"), str):
        raise fault(f"{where}: is {reprlib.repr(described)}; a sampler has a name and settings")
    kind = _BY_NAME.get(described["name"])
    if kind is None:
        return None
    # Descriptions without `by` are of before there were rules by time.
    before = {"by": "index"} if any(one.name == "by" for one in fields(kind)) else {}  # type: ignore[arg-type]
    try:
        return kind(**before | {name: value for name, value in described.items() if name != "name"})
    except (TypeError, ValueError, DataError) as error:
        raise fault(f"{where}: {described['name']} has no such settings ({error})") from error
