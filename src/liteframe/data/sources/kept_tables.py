"""Long lists are read once: their rows are kept in the user's cache, and open at once until a list changes.

A table of them lies in a folder `LISTS-STATES-TOKEN`: digests of which lists they are and of how they and the code that
reads them were, and a part that makes the name its own. The processes of all ranks and runs map the same files. When
lists are read anew, their other tables are removed, and those of any lists that were not opened for long; none that a
process has open is.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import liteframe
from liteframe.data.remote.file import folder_of
from liteframe.data.remote.file_locks import alone, hold, remove_unheld
from liteframe.data.sources.checksums import read_checked, sync_file, write_checked
from liteframe.data.sources.list_root import ListRoot
from liteframe.data.sources.refused_rows import REFUSED_FILES, REFUSED_LOCK
from liteframe.data.sources.row_block import RowBlock
from liteframe.data.sources.row_table import TABLE_FILES, RowTable
from liteframe.system.atomic import sync_folder
from liteframe.system.progress import Meter
from liteframe.system.user_cache import user_cache

LONG_LIST = 16 << 20
"""Bytes of lists from which on their rows are kept: reading them takes seconds."""
_SEEN, _HELD = "seen.json", "held"
_FILES = (*TABLE_FILES, REFUSED_LOCK, _SEEN, _HELD)
_NAME = re.compile(r"[0-9a-f]{20}-[0-9a-f]{20}-[0-9a-f]{8}|\.[0-9a-f]{20}-[0-9a-f]{20}-[0-9a-f]{8}\.part")
_LONG_AGO_S = 30 * 86_400


@dataclass(frozen=True)
class ListFile:
    """A list on disk.

    Args:
        path: of the file, absolute: two spellings of it are two lists.
        root: what its paths are relative to; `None` for its folder.
        url: that the file is a copy of; empty where it is none.
    """

    path: Path
    root: str | None
    url: str = ""

    def held_root(self) -> ListRoot:
        """What its names are held to, anew."""
        return ListRoot(folder_of(self.url) if self.url else str(self.path.parent), self.root)

    def place(self) -> list[str | None]:
        """Which list it is."""
        root = self.root if self.root is None or self.held_root().is_url else os.path.abspath(self.root)
        return [self.url or str(self.path), root]

    def state(self) -> list[int]:
        """What of the file changes with its content."""
        found = os.stat(self.path)
        return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


Read = Callable[[Sequence[ListRoot]], Iterable[Iterable[RowBlock]]]
"""Gives the rows of each list, whose names are held to these."""


def are_long(lists: Sequence[ListFile]) -> bool:
    """Whether the rows of these lists are worth keeping."""
    return sum(file.path.stat().st_size for file in lists) >= LONG_LIST


def kept_table(lists: Sequence[ListFile], read: Read) -> RowTable:
    """The rows of the lists: those that are kept, or else read and kept now, or in memory where nothing can be kept.

    Of several processes, the first one reads while the others wait.
    """
    folder = user_cache("lists")
    of_lists = _digest([os.path.expanduser("~"), [file.place() for file in lists]])
    try:
        if (table := _open_kept(folder, of_lists, lists)) is not None:
            return table
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder / f".{of_lists}.lock"):
            return _open_kept(folder, of_lists, lists, warns=True) or _keep(folder, of_lists, lists, read)
    except OSError as error:
        print(
            f"liteframe: the rows of {_named(lists)} cannot be kept in {folder} ({error.strerror or error}), so they"
            " are held in memory and read again by each run; free space there, or set XDG_CACHE_HOME to another folder",
            file=sys.stderr,
        )
    return RowTable.of_blocks(read([file.held_root() for file in lists]))


def _open_kept(folder: Path, of_lists: str, lists: Sequence[ListFile], warns: bool = False) -> RowTable | None:
    for kept in sorted(folder.glob(f"{of_lists}-{_states(lists)}-*")):
        handle = hold(kept / _HELD)
        if handle is None:
            continue
        try:
            seen = json.loads(read_checked(kept / _SEEN))
            if all(file.held_root().is_as(sights) for file, sights in zip(lists, seen, strict=True)):
                table = RowTable.open(kept)
                table.keep_open(handle)
                _mark_use(kept)
                return table
        except (OSError, ValueError, KeyError, TypeError) as error:
            if warns:
                print(
                    f"liteframe: warning: the rows of {_named(lists)} that are kept in {kept} are damaged ({error}), so"
                    " they are read anew",
                    file=sys.stderr,
                )
        os.close(handle)
    return None


def _keep(folder: Path, of_lists: str, lists: Sequence[ListFile], read: Read) -> RowTable:
    """Call it `alone`."""
    name = f"{of_lists}-{_states(lists)}-{secrets.token_hex(4)}"
    part = folder / f".{name}.part"
    for left in folder.glob(f".{of_lists}-*.part"):  # of a process that was killed
        _remove(left)
    part.mkdir()
    try:
        roots = [file.held_root() for file in lists]
        with Meter(f"reading {_named(lists)}", unit="rows") as meter:
            RowTable.write((_counted(blocks, meter) for blocks in read(roots)), part)
        write_checked(part / _SEEN, json.dumps([root.seen() for root in roots]))
        (part / _HELD).touch()
        for file in part.iterdir():
            sync_file(file)
        kept = folder / name
        part.rename(kept)
    except BaseException:
        _remove(part)
        raise
    with suppress(OSError):  # not every disk syncs folders
        sync_folder(folder)
    _remove_old(folder, of_lists, kept)
    table = RowTable.open(kept)
    handle = hold(kept / _HELD)
    assert handle is not None
    table.keep_open(handle)
    return table


def _mark_use(kept: Path) -> None:
    with suppress(OSError):  # a folder that may only be read is good for reading
        os.utime(kept / _HELD)


def _remove_old(folder: Path, of_lists: str, kept: Path) -> None:
    """Removes the other tables of these lists, and those of any that were last used long ago, unless they are held."""
    for old in folder.iterdir():
        if old == kept or not _NAME.fullmatch(old.name):
            continue
        with suppress(OSError):  # another user's, say: no reason not to use what was kept
            is_old = old.name.startswith(f"{of_lists}-") or time.time() - _last_use(old) > _LONG_AGO_S
            if is_old and remove_unheld(old / _HELD):
                _remove(old)


def _last_use(kept: Path) -> float:
    """Of a table, or of what a killed process left of one: seconds since the epoch."""
    return max(path.stat().st_mtime for path in (kept, kept / _HELD) if path.exists())


def _remove(folder: Path) -> None:
    """Removes the files of a table, and the folder where nothing else is in it."""
    with suppress(OSError):
        for file in (*(folder / name for name in _FILES), *folder.glob(REFUSED_FILES)):
            file.unlink(missing_ok=True)
        folder.rmdir()


def _counted(blocks: Iterable[RowBlock], meter: Meter) -> Iterator[RowBlock]:
    for block in blocks:
        yield block
        meter.update(len(block))


def _named(lists: Sequence[ListFile]) -> str:
    return ", ".join(file.path.name for file in lists)


def _states(lists: Sequence[ListFile]) -> str:
    return _digest([_reader(), [file.state() for file in lists]])


@cache
def _reader() -> str:
    """What stands for the code that reads lists."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return _digest([liteframe.__version__, [file.read_text(encoding="utf-8") for file in sources]])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:20]
