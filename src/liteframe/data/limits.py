"""Numbers in the settings that no machine can have been meant for, refused by name before any work.

The bounds are those of arithmetic, far above what anybody runs: a batch many times the machine's memory, many times as
many processes as it has cores.
"""

from __future__ import annotations

import math
import os
from numbers import Integral
from typing import TYPE_CHECKING

from liteframe.errors import ConfigError

if TYPE_CHECKING:
    from liteframe.data.datamodule import VideoDataModule

MOST_CLIP_FRAMES = 1024
"""Frames of a clip, of the data or of a teacher."""
_MEMORIES = 16
"""A batch may be larger than the memory by so much, because videos may have fewer frames than are asked for."""
_UNKNOWN_MEMORY = 2**40
_PROCESSES_PER_CORE = 16
_FEWEST_PROCESSES = 128
_MOST = 10**12
_MOST_WINDOWS = 1_000_000
_MOST_PREFETCHED = 1024
_LONGEST_SIDE = 65_536
_LONGEST_WAIT_S = 1e9


def require_possible(data: VideoDataModule) -> None:
    """Raises ConfigError, by the name of the setting, where a number of a data module is absurd."""
    for side in data.settings.image_size:
        require_whole("data.image_size", side, _LONGEST_SIDE)
    require_whole("data.frames", data.frames, _MOST)
    require_whole("data.batch_size", data.batch_size, _MOST)
    require_whole("data.clip_frames", data.settings.clip_frames, MOST_CLIP_FRAMES)
    require_whole("data.windows_per_video", data.windows_per_video, _MOST_WINDOWS)
    require_whole("data.seed", data.seed, 2**63 - 1, least=0)
    require_whole("data.num_workers", data.num_workers, most_processes(), least=0)
    most_each = max(1, 2 * most_processes() // max(1, data.num_workers))
    require_whole("data.decode_processes (of each of data.num_workers)", data.decode_processes, most_each)
    require_seconds("data.decode_deadline_s", data.decode_deadline_s)
    if data.prefetch_factor is not None:
        require_whole("data.prefetch_factor", data.prefetch_factor, _MOST_PREFETCHED)
    if not 0 <= data.max_skip_fraction <= 1:
        raise ConfigError(f"data.max_skip_fraction is {data.max_skip_fraction}; give a share from 0 to 1")
    for shape in data.shapes:
        require_whole("data.shapes: frames", shape.frames, _MOST)
        require_whole("data.shapes: batch_size", shape.batch_size, _MOST)
        if not 0 < shape.weight < math.inf:
            raise ConfigError(f"data.shapes: weight is {shape.weight}; give a number above 0")
    for source in data.sources["train"]:
        if source.weight is not None and not 0 < source.weight < math.inf:
            raise ConfigError(f"data.train: the weight of {source.path} is {source.weight}; give a number above 0")
    require_batches_fit(data)


def require_batches_fit(data: VideoDataModule) -> None:
    """Raises ConfigError, by the names of the settings, where a batch can be no batch of this machine."""
    memory, (height, width), clip = memory_bytes(), data.settings.image_size, data.settings.clip_frames
    batches = [("batch_size, data.frames", data.batch_size, data.frames)]
    batches += [("shapes", shape.batch_size, shape.frames) for shape in data.shapes]
    for name, videos, frames in batches:
        padded = frames + -frames % clip
        size = videos * padded * height * width * 3
        if size > _MEMORIES * memory:
            raise ConfigError(
                f"data.{name}, data.clip_frames, data.image_size: a batch of {videos:,} videos of {padded:,} frames of"
                f" {height} x {width} pixels has {size / 1e9:.3g} GB, this machine {memory / 1e9:.3g} GB of memory;"
                " take fewer videos or frames, or smaller ones"
            )


def require_whole(name: str, value: int, most: int, least: int = 1) -> None:
    """Raises ConfigError, by the name of the setting, unless `least` <= `value` <= `most`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= value <= most:
        shown = value if not isinstance(value, Integral) or abs(value) < 10**30 else "a number of more than 30 digits"
        raise ConfigError(f"{name} is {shown}; give a whole number from {least} to {most:,}")


def require_seconds(name: str, value: float) -> None:
    """Raises ConfigError, by the name of the setting, unless `value` is above 0 and finite."""
    if not 0 < value <= _LONGEST_WAIT_S:
        raise ConfigError(f"{name} is {value}; give a number of seconds above 0, at most {_LONGEST_WAIT_S:g}")


def most_processes() -> int:
    """More processes than this are no help on this machine."""
    return max(_FEWEST_PROCESSES, _PROCESSES_PER_CORE * (os.cpu_count() or 1))


def memory_bytes() -> int:
    """The machine's memory; a terabyte where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return _UNKNOWN_MEMORY
