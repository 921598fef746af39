"""Folders that are copied to a bucket: whole files only, nothing of anybody else's replaced, and the last file last."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from liteframe.data.remote.file import BLOCK_BYTES, protocol_of
from liteframe.data.remote.objects import ObjectFacts, objects_below, put
from liteframe.errors import ConfigError
from liteframe.system.shown_url import shown_url

_LAST = ("config.json", "liteframe-files.json", "COMPLETE")
"""Files without which nothing is read, in the order in which they come last."""
_NOT_COPIED = (".part", ".lock")
_AT_A_TIME = 4


def upload_folder(folder: Path, url: str, progress: Callable[[int], object] = lambda _bytes: None) -> tuple[int, int]:
    """Copies the files of `folder` below `url`; those that lie there already are left as they are.

    A file there counts as the same by its size, and by its MD5 where the object's mark is one. Broken off and called
    again, it goes on. Hidden files, locks and parts of files are not copied, and nothing there is ever removed.

    Args:
        folder: on this machine.
        url: of a bucket and a folder in it.
        progress: called with the bytes of each file when it is there.

    Returns:
        how many files were copied, and how many bytes.

    Raises:
        ConfigError: other files lie there, or one cannot be written, after several tries.
    """
    if protocol_of(url) in ("http", "https"):
        raise ConfigError(f"{shown_url(url)}: web servers are not written to; give the address of a bucket")
    copied = [path for path in sorted(folder.rglob("*")) if _is_copied(path, folder)]
    names = {path.relative_to(folder).as_posix(): path for path in copied}
    there = objects_below(url)
    if foreign := sorted(there.keys() - names.keys()):
        raise ConfigError(f"{shown_url(url)}: holds {foreign[0]}, which is not in {folder}; give another address")
    if other := [name for name, facts in there.items() if not _is_same(names[name], facts)]:
        raise ConfigError(f"{shown_url(url)}: holds another {other[0]} than {folder}; give another address")
    missing = {name: path for name, path in names.items() if name not in there}
    last = sorted((name for name in missing if name in _LAST), key=_LAST.index)
    first = [name for name in missing if name not in _LAST]

    def copy(name: str) -> None:
        put(missing[name], f"{url.rstrip('/')}/{name}")
        progress(missing[name].stat().st_size)

    with ThreadPoolExecutor(_AT_A_TIME, "liteframe-upload") as threads:
        list(threads.map(copy, first))
    for name in last:
        copy(name)
    return len(missing), sum(path.stat().st_size for path in missing.values())


def _is_copied(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.is_file() and not hidden and not path.name.endswith(_NOT_COPIED)


def _is_same(path: Path, facts: ObjectFacts) -> bool:
    if facts.bytes is not None and facts.bytes != path.stat().st_size:
        return False
    mark = facts.etag.strip('"')
    if len(mark) != 32:  # of several parts, it is the digest of digests
        return True
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest() == mark
