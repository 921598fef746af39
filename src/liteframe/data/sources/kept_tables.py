"""Long lists are read once: their rows are kept in the user's cache, and open at once until a list changes.

A table of them lies in a folder `LISTS-STATES-TOKEN`: digests of which lists they are and of how they were, and a part
that makes the name its own. The processes of all ranks and runs map the same files. One that no process has open is
removed when the same lists are read anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import liteframe
from liteframe.data.remote.file import folder_of
from liteframe.data.remote.file_locks import alone, hold, remove_unheld
from liteframe.data.sources.list_root import ListRoot
from liteframe.data.sources.row_table import TABLE_FILES, RowTable
from liteframe.data.sources.video_row import VideoRow
from liteframe.system.progress import Meter
from liteframe.system.user_cache import user_cache

LONG_LIST = 16 << 20
"""Bytes of lists from which on their rows are kept: reading them takes seconds."""
_SEEN, _HELD = "seen.json", "held"
_FILES = (*TABLE_FILES, _SEEN, _HELD)
_ROWS_A_TICK = 1000


@dataclass(frozen=True)
class ListFile:
    """A list on disk.

    Args:
        path: of the file.
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
        """Which list it is; its rows are placed by the path as it was given."""
        root = self.root if self.root is None or self.held_root().is_url else os.path.abspath(self.root)
        return [self.url, root] if self.url else [os.path.abspath(self.path), str(self.path), root]

    def state(self) -> list[int]:
        """What of the file changes with its content."""
        found = os.stat(self.path)
        return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


Read = Callable[[Sequence[ListRoot]], Iterable[Iterable[VideoRow]]]
"""Gives the rows of each list, whose names are held to these."""


def are_long(lists: Sequence[ListFile]) -> bool:
    """Whether the rows of these lists are worth keeping."""
    return sum(file.path.stat().st_size for file in lists) >= LONG_LIST


def kept_table(lists: Sequence[ListFile], read: Read) -> RowTable:
    """The rows of the lists: those that are kept, or else read and kept now, or in memory where nothing can be kept.

    Of several processes, the first one reads while the others wait.
    """
    folder = user_cache("lists")
    of_lists = _digest([_reader(), os.path.expanduser("~"), [file.place() for file in lists]])
    try:
        if (table := _open_kept(folder, of_lists, lists)) is not None:
            return table
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder / f".{of_lists}.lock"):
            return _open_kept(folder, of_lists, lists) or _keep(folder, of_lists, lists, read)
    except OSError as error:
        print(
            f"liteframe: the rows of {_named(lists)} cannot be kept in {folder} ({error.strerror or error}), so they"
            " are held in memory and read again by each run; free space there, or set XDG_CACHE_HOME to another folder",
            file=sys.stderr,
        )
    return RowTable(read([file.held_root() for file in lists]))


def _open_kept(folder: Path, of_lists: str, lists: Sequence[ListFile]) -> RowTable | None:
    for kept in sorted(folder.glob(f"{of_lists}-{_states(lists)}-*")):
        handle = hold(kept / _HELD)
        if handle is None:
            continue
        try:
            seen = json.loads((kept / _SEEN).read_bytes())
            if all(file.held_root().is_as(sights) for file, sights in zip(lists, seen, strict=True)):
                table = RowTable.open(kept)
                table.keep_open(handle)
                return table
        except (OSError, ValueError, KeyError, TypeError):
            pass  # damaged: it is read anew
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
            RowTable((_ticked(rows, meter) for rows in read(roots)), part)
        (part / _SEEN).write_text(json.dumps([root.seen() for root in roots]), encoding="utf-8")
        (part / _HELD).touch()
        kept = folder / name
        part.rename(kept)
    except BaseException:
        _remove(part)
        raise
    for old in folder.glob(f"{of_lists}-*"):
        if old != kept and remove_unheld(old / _HELD):
            _remove(old)
    table = RowTable.open(kept)
    handle = hold(kept / _HELD)
    assert handle is not None
    table.keep_open(handle)
    return table


def _remove(folder: Path) -> None:
    """Removes the files of a table, and the folder where nothing else is in it."""
    with suppress(OSError):
        for name in _FILES:
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def _ticked(rows: Iterable[VideoRow], meter: Meter) -> Iterator[VideoRow]:
    count = 0
    for count, row in enumerate(rows, 1):
        if count % _ROWS_A_TICK == 0:
            meter.update(_ROWS_A_TICK)
        yield row
    meter.update(count % _ROWS_A_TICK)


def _named(lists: Sequence[ListFile]) -> str:
    return ", ".join(file.path.name for file in lists)


def _states(lists: Sequence[ListFile]) -> str:
    return _digest([file.state() for file in lists])


@cache
def _reader() -> str:
    """What stands for the code that reads lists."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return _digest([liteframe.__version__, [file.read_text(encoding="utf-8") for file in sources]])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:20]
