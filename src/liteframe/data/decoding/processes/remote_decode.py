"""Work on the copy of a remote video, which is fetched once more where the copy may be what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from liteframe.data.decoding.decode import scan_cached
from liteframe.data.remote.cache import RemoteCache
from liteframe.errors import ConfigError, DecodeError, LiteFrameError

T = TypeVar("T")


def with_copy(url: str, cache: RemoteCache | None, work: Callable[[str], T]) -> T:
    """`work(path)` on a copy of the video behind `url`.

    Where it fails, and the copy has changed, is no video, or was never known to be whole, that copy goes; the video is
    fetched again, once.

    Raises:
        DecodeError: naming `url`: what `work` raises, or it cannot be fetched.
        ConfigError: there is no cache.
        Exception: anything else that `work` raises.
    """
    if cache is None:
        raise ConfigError(f"{url}: a video that is not here needs data.remote_cache, a folder to be fetched into")
    for last in (False, True):
        with cache.local_copy(url) as path:
            try:
                return work(path)
            except Exception as error:
                if isinstance(error, LiteFrameError) and not isinstance(error, DecodeError):
                    raise
                if not cache.drop_if_bad(path, _opens(path)) or last:
                    if isinstance(error, DecodeError):
                        raise type(error)(url, error.reason) from error
                    raise
    raise AssertionError("the second try returns or raises")


def _opens(path: str) -> bool:
    try:
        scan_cached(path)
    except DecodeError:
        return False
    return True
