"""How much memory decoding may take: a video that asks for more is an error of its own, not the end of the run."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

from liteframe.errors import DecodeError

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_SHARE_OF_FRAMES, _SHARE_OF_PROCESS = 4, 2
_LEAST_BYTES = 1 << 30


@cache
def machine_bytes() -> int:
    """Memory of this machine, or of this container where that is less; 16 GiB where the system does not tell."""
    sizes = [16 << 30]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        sizes = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in map(Path, _CGROUP_LIMITS):
        if path.is_file() and (text := path.read_text().strip()).isdigit():
            sizes.append(int(text))
    return min(sizes)


def fits_memory(frames: int, height: int, width: int) -> bool:
    """Whether RGB frames of a video take no more than a quarter of the memory.

    They are there twice while they go from one process to another.
    """
    return frames * width * height * 3 <= _most_bytes()


def require_memory(path: str, frames: int, height: int, width: int) -> None:
    """Raises DecodeError where frames do not fit, see `fits_memory`."""
    if not fits_memory(frames, height, width):
        needed, most = frames * width * height * 3, _most_bytes()
        raise DecodeError(
            path,
            f"{frames} frames of {width}x{height} take {needed / 1e9:.3g} GB, more than the {most / 1e9:.3g} GB that a"
            " video may have here: take fewer frames, or scale the video down",
        )


def _most_bytes() -> int:
    return max(machine_bytes() // _SHARE_OF_FRAMES, _LEAST_BYTES)


def limit_own_memory() -> None:
    """Bounds what this process may allocate, and offers it as the first to be killed where memory runs out.

    Then a file at which a decoder allocates without end costs this process, and not the one that trains.
    """
    if sys.platform != "linux":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = max(machine_bytes() // _SHARE_OF_PROCESS, 2 * _LEAST_BYTES)
    if soft == resource.RLIM_INFINITY or soft > most:
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        return  # a sandbox without that file
