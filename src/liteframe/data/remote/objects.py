"""Objects of a bucket, or of a web server: their sizes, ranges of their bytes, whole copies, and what lies below one.

Each call asks for its file system anew, which fsspec keeps for each process and thread: what a process opened before it
forked is of no use to its children. Listings are never remembered, as others write into buckets.
"""

from __future__ import annotations

import errno
import logging
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from liteframe.data.remote.checksums import Digests
from liteframe.data.remote.faults import BadBody, in_words, is_refusal, retry_after_s
from liteframe.data.remote.file import BLOCK_BYTES, open_url, protocol_of, require_remote, system_of
from liteframe.errors import ConfigError, DecodeError, LiteFrameError
from liteframe.system.atomic import atomic_open
from liteframe.system.shown_url import shown_url

log = logging.getLogger(__name__)
PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Waited for between tries, each up to half as long again, so that many processes do not come back at once."""
_LONGEST_PAUSE_S = 60.0
_MARKS = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime", "created")
"""What backends call that which tells one version of an object from another."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"]+")
Result = TypeVar("Result")


@dataclass(frozen=True)
class ObjectFacts:
    """Size in bytes, None where the server does not tell it, and the server's mark of this version, or empty."""

    bytes: int | None
    etag: str = ""


def facts_of(url: str) -> ObjectFacts | None:
    """Size and version of an object; None where there is none under that name.

    Raises:
        ConfigError: it cannot be asked for, after several tries, or a package is missing.
    """

    def ask() -> ObjectFacts | None:
        system, path = _system_of(url)
        try:
            info = system.info(path)
        except FileNotFoundError:
            return None
        return _facts(info) if info.get("type") == "file" else None

    return _tried(url, ask)


def objects_below(url: str) -> dict[str, ObjectFacts]:
    """What lies below an address at any depth, by its name from there.

    Raises:
        ConfigError: as `facts_of`, or the address is a web server's, which has no listing.
    """
    if protocol_of(url) in ("http", "https"):
        raise ConfigError(f"{shown_url(url)}: web servers list no folders; give the address of a bucket")

    def ask() -> dict[str, ObjectFacts]:
        system, path = _system_of(url.rstrip("/"))
        try:
            found = system.find(path, detail=True)
        except FileNotFoundError:
            return {}
        start = path.rstrip("/") + "/"
        below = {name[len(start) :]: info for name, info in found.items() if name.startswith(start)}
        # A console's "folder" is an empty object whose name ends in a slash.
        return {name: _facts(info) for name, info in sorted(below.items()) if name and not name.endswith("/")}

    return _tried(url, ask)


def read_range(url: str, start: int, end: int) -> bytes:
    """Bytes `start` to `end` (without it) of an object, in one request.

    Raises:
        ConfigError: there is no such object, or the bytes do not come, after several tries.
    """

    def ask() -> bytes:
        system, path = _system_of(url)
        data = bytes(system.cat_file(path, start=start, end=end))
        if len(data) != end - start:
            raise BadBody(f"{len(data)} bytes came instead of {end - start} from {start} on")
        return data

    return _tried(url, ask)


def fetch(url: str, target: Path, size: int | None = None) -> None:
    """Writes a whole object to a file, which is there whole or not at all; checked by what the server tells of it.

    Args:
        url: of the object.
        target: in a folder that exists.
        size: bytes that it has, as `facts_of` told; None where that is not known.

    Raises:
        ConfigError: there is no such object, or it does not come whole, after several tries.
        OSError: `target` cannot be written.
    """

    def ask() -> None:
        with open_url(url) as remote, atomic_open(target) as file:
            digests = Digests(remote.checksums)
            while block := remote.stream.read(BLOCK_BYTES):
                digests.update(block)
                file.write(block)
            for told in (remote.size, size):
                if told not in (None, digests.bytes):
                    raise BadBody(f"{digests.bytes} bytes came instead of {told}")
            if wrong := digests.wrong():
                raise BadBody(f"its {wrong} is not the one that the server told")

    _tried(url, ask)


def put(source: Path, url: str) -> None:
    """Writes a file to an object that is not there yet; object stores show it whole or not at all.

    Raises:
        ConfigError: it cannot be written, after several tries, or has another size then.
    """
    size = source.stat().st_size

    def ask() -> None:
        system, path = _system_of(url)
        try:
            system.put_file(str(source), path)
        except Exception as error:
            # Asked once more to complete an upload of several parts, as after a slow answer, S3 knows of none.
            if "NoSuchUpload" not in str(error):
                raise
            if not system.exists(path):
                raise ConnectionError("the upload was lost") from error
        there = _facts(system.info(path)).bytes
        if there not in (None, size):
            raise BadBody(f"{there} bytes lie there instead of {size}")

    _tried(url, ask, "written")


def _system_of(url: str) -> tuple[Any, str]:
    try:
        require_remote(url)
    except DecodeError as error:
        raise ConfigError(f"{shown_url(url)}: {error.reason}") from None
    return system_of(url)


def _facts(info: Any) -> ObjectFacts:
    size = info.get("size")
    mark = next((str(info[name]) for name in _MARKS if info.get(name)), "")
    return ObjectFacts(size if isinstance(size, int) and size >= 0 else None, mark)


def _tried(url: str, ask: Callable[[], Result], what: str = "read") -> Result:
    """What `ask` gives, asked again with growing pauses where that may help."""
    pauses = iter(PAUSES_S)
    while True:
        try:
            return ask()
        except LiteFrameError:
            raise
        except Exception as error:  # each of fsspec's backends has errors of its own
            if isinstance(error, OSError) and error.errno in _FULL:
                raise
            pause = None if is_refusal(error) else next(pauses, None)
            said = _ADDRESS.sub(lambda match: shown_url(match[0]), in_words(error))
            if pause is None:
                raise ConfigError(f"{shown_url(url)}: cannot be {what}: {said}") from None
            pause = min(retry_after_s(error) or pause * random.uniform(1.0, 1.5), _LONGEST_PAUSE_S)
            log.info("%s: %s; asked again in %.1f s", shown_url(url), said, pause)
        time.sleep(pause)
