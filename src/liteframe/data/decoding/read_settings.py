"""Settings of `liteframe.read_video`, refused by name where they make no sense: before any file is opened."""

from __future__ import annotations

import os
import reprlib
from numbers import Integral, Real
from typing import Any

from liteframe.data.limits import require_seconds
from liteframe.data.sampling.frame_times import require_span
from liteframe.errors import ConfigError


def require_path(path: Any) -> None:
    """Raises ConfigError unless `path` is a text or path."""
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise ConfigError(f"path is {reprlib.repr(path)}; give the file as a str or pathlib.Path")


def require_choice(frames: Any, sampler: Any, fps: Any, start: Any, end: Any) -> None:
    """Raises ConfigError unless these choose frames."""
    if fps is not None and sampler is not None:
        raise ConfigError("fps and sampler: each chooses the frames; give one of them")
    if frames is not None and (not _is_whole(frames) or frames < 1):
        raise ConfigError(f"frames is {reprlib.repr(frames)}; give a whole number, 1 or more, or None for every frame")
    if fps is not None and (not _is_number(fps) or not fps > 0):
        raise ConfigError(f"fps is {reprlib.repr(fps)}; give a rate above 0, in frames a second")
    if sampler is not None and (isinstance(sampler, type) or not callable(getattr(sampler, "indices", None))):
        raise ConfigError(
            f"sampler is {reprlib.repr(sampler)}; give a FrameSampler of liteframe.data.sampling, such as Linspace(),"
            " or one of your own, of a class with the method `indices`"
        )
    for name, seconds in (("start", start), ("end", end)):
        if seconds is not None and not _is_number(seconds):
            raise ConfigError(f"{name} is {reprlib.repr(seconds)}; give seconds from the first frame on, as a number")
    require_span(start, end)


def require_size(size: Any) -> None:
    """Raises ConfigError unless `size` is None or (height, width)."""
    if size is None:
        return
    told = f"size is {reprlib.repr(size)}; give (height, width), two whole numbers of pixels"
    try:
        sides = list(size)
    except TypeError:
        raise ConfigError(told) from None
    if len(sides) != 2 or not all(_is_whole(side) and side >= 1 for side in sides):
        raise ConfigError(told)


def require_way(decoder: Any, deadline_s: Any, truncated: Any) -> None:
    """Raises ConfigError unless these tell how to read; which decoders there are, `DecodePool` knows."""
    if not isinstance(decoder, str):
        raise ConfigError(f"decoder is {reprlib.repr(decoder)}; give a name, such as 'auto'")
    if not _is_number(deadline_s):
        raise ConfigError(f"deadline_s is {reprlib.repr(deadline_s)}; give a number of seconds")
    require_seconds("deadline_s", deadline_s)
    if truncated not in ("error", "use"):
        raise ConfigError(f"truncated is {reprlib.repr(truncated)}; give 'error' or 'use'")


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
