"""A long list, read by as many processes as there are cores."""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from functools import lru_cache
from itertools import chain
from typing import Any

from liteframe.data.decoding.processes.pool import DecodePool
from liteframe.data.sources.file_kind import is_parquet
from liteframe.data.sources.json_text import LinePart, line_parts
from liteframe.data.sources.kept_tables import ListFile
from liteframe.data.sources.list_root import ListRoot
from liteframe.data.sources.list_rows import empty_list, readable, rows_of_file
from liteframe.data.sources.row_block import RowBlock, blocks_of
from liteframe.errors import DecodeError, LiteFrameError, ManifestError
from liteframe.system.runtime import usable_cores
from liteframe.system.shown_url import shown_url

PART_BYTES = 1 << 20
"""Of a list, that a process reads at a time: a second's work at most."""
_PARTS_OF_A_PROCESS = 4
"""At least, as starting one takes a part of a second."""
_MOST_PROCESSES = 32
"""What they make of a list is put together by one process, which keeps up with about as many."""
_DEADLINE_S = 600.0
Answer = tuple[RowBlock | None, dict[str, Any]]


def list_blocks(file: ListFile, root: ListRoot, source: int, keep_unusable: bool) -> Generator[RowBlock, None, None]:
    """The rows of a list in blocks, see `blocks_of`. JSONL is read by several processes, whichever other form by this.

    Args:
        file: the list.
        root: what its names are held to; it is told what other processes see of the disk.
        source: number of the list.
        keep_unusable: as of `blocks_of`.

    Raises:
        ManifestError: the list as a whole cannot be read, is empty, or changes while it is read.
    """
    state, empty = file.state(), True
    for block in _blocks(file, root, source, keep_unusable):
        empty = False
        yield block
    if file.state() != state:
        raise ManifestError(f"{_name(file)}: changed while it was read; start again when it is whole")
    if empty:
        raise empty_list(_name(file))


def _blocks(file: ListFile, root: ListRoot, source: int, keep_unusable: bool) -> Iterator[RowBlock]:
    with readable(file.path):
        parts = iter(()) if is_parquet(file.path) else line_parts(file.path, PART_BYTES)
        some = file.path.stat().st_size // (_PARTS_OF_A_PROCESS * PART_BYTES)
        processes = min(usable_cores(), _MOST_PROCESSES, some)
        first = next(parts, None)
        if first is None or processes < 2:
            yield from blocks_of(rows_of_file(file.path, file.url, root), source, keep_unusable)
            return
        for part, answer in _answers(file, chain([first], parts), source, keep_unusable, processes):
            if answer is None:
                block = _part_block(file, root, part, source, keep_unusable)
            else:
                block, seen = answer
                root.take_in(seen)
            if block is not None:
                yield block


def _answers(
    file: ListFile, parts: Iterable[LinePart], source: int, keep_unusable: bool, processes: int
) -> Iterator[tuple[LinePart, Answer | None]]:
    """Each part with what a process has made of it; None where none could, which is said once."""
    asked: deque[LinePart] = deque()
    upcoming, failed = iter(parts), False

    def calls() -> Iterator[tuple[Any, ...]]:
        for part in upcoming:
            asked.append(part)
            yield str(file.path), f"{__name__}:read_part", (file, part, source, keep_unusable)

    def tell(error: LiteFrameError) -> None:
        what = f"{_name(file)} is read by this process, as others that should read parts of it fail"
        print(f"liteframe: warning: {what} ({error})", file=sys.stderr)

    with DecodePool(processes, _DEADLINE_S) as pool:
        answers = pool.call_in_order(calls())
        while True:
            try:
                answer = next(answers)
            except StopIteration:
                break
            except LiteFrameError as error:  # no process can be started, say
                tell(error)
                break
            if isinstance(answer, DecodeError) and not failed:
                tell(answer)
                failed = True
            yield asked.popleft(), None if isinstance(answer, DecodeError) else answer
    for part in chain(asked, upcoming):
        yield part, None


def read_part(file: ListFile, part: LinePart, source: int, keep_unusable: bool) -> Answer:
    """The rows of a part in a block, if there are any, and what was seen of the disk for them.

    To be called by processes that read parts of one list, once.
    """
    root = _held_root(file)
    return _part_block(file, root, part, source, keep_unusable), root.news()


_held_root = lru_cache(1)(ListFile.held_root)


def _part_block(file: ListFile, root: ListRoot, part: LinePart, source: int, keep_unusable: bool) -> RowBlock | None:
    rows = rows_of_file(file.path, file.url, root, part=part)
    return next(blocks_of(rows, source, keep_unusable, most_bytes=math.inf), None)


def _name(file: ListFile) -> str:
    return shown_url(file.url) if file.url else str(file.path)
