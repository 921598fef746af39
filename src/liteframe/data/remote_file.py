"""Files behind URLs: `s3://`, `gs://`, `hf://`, `https://` and whatever else fsspec knows."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import BinaryIO

from liteframe.errors import ConfigError, DataError

BLOCK_BYTES = 8 << 20
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_REFUSALS = (401, 403, 404, 410)


def is_url(path: str) -> bool:
    """Whether `path` names something to be fetched."""
    return _URL.match(path) is not None


def require_file(path: str | os.PathLike[str]) -> None:
    """Raises DataError where `path` is a URL, for those who fetch nothing."""
    if is_url(os.fspath(path)):
        raise DataError(f"{os.fspath(path)}: nothing is fetched here; download it, and give the file")


def name_for(url: str) -> str:
    """A file name for a copy of `url`: 40 hexadecimal digits, and the ending, by which FFmpeg guesses formats."""
    suffix = PurePosixPath(re.split(r"[?#]", url, maxsplit=1)[0]).suffix.lower()
    return hashlib.sha256(url.encode()).hexdigest()[:40] + (suffix if re.fullmatch(r"\.[a-z0-9]{1,5}", suffix) else "")


@contextmanager
def open_url(url: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """What `url` holds, to be read once from start to end, and its size in bytes where the server tells it.

    Raises:
        ConfigError: no such protocol, or the package that fsspec needs for it is not installed.
        Exception: anything else that fsspec's backend raises.
    """
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{url}: fsspec cannot read such URLs: {error}") from error
    size = system.info(path).get("size")
    # Over HTTP a stream, because reading by blocks would be a request for each.
    block = 0 if url.lower().startswith("http") else BLOCK_BYTES
    with system.open(path, "rb", block_size=block) as stream:
        yield stream, size


def is_refusal(error: Exception) -> bool:
    """Whether asking again is of no use: there is no such file, or no permission to read it."""
    if not isinstance(error, FileNotFoundError | PermissionError):
        return False
    # fsspec makes a FileNotFoundError of whatever goes wrong over HTTP.
    return error.__cause__ is None or getattr(error.__cause__, "status", None) in _REFUSALS
