"""How long a video may take: its deadline without progress, and in all as many as its size needs."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from liteframe.data.remote.cache import RemoteCache
from liteframe.data.remote.file import is_url

_MOST_DEADLINES = 20
"""A video of no size takes no longer than so many deadlines, even if it goes on all the while."""
_BYTES_A_SECOND = 1 << 15
"""A larger one has a second more for so many bytes: all of it may have to be decoded."""


@dataclass
class TimeLeft:
    """What remains for a video.

    Attributes:
        idle: seconds that may pass without progress; those before a decoder was lost are gone.
        most_s: seconds that it may take in all; known better once it is fetched.
        spent: of these.
    """

    idle: float
    most_s: Callable[[], float]
    spent: float = 0.0

    @classmethod
    def of_video(cls, path: str, deadline_s: float, cache: RemoteCache | None) -> TimeLeft:
        """All of the time of a file, or of a remote video that is fetched into `cache`."""
        return cls(deadline_s, lambda: deadline_s * _MOST_DEADLINES + bytes_of(path, cache) // _BYTES_A_SECOND)

    def all(self) -> float:
        """Seconds in all."""
        return self.most_s() - self.spent


def bytes_of(path: str, cache: RemoteCache | None) -> int:
    """Of a file, or the copy of a remote one; 0 where there is none."""
    if is_url(path):
        path = "" if cache is None else str(cache.copy_of(path))
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):
        return 0
