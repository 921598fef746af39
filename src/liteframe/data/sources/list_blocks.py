"""A long list, read by as many processes as there are cores."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import chain
from typing import Any

from liteframe.data.decoding.processes.pool import DecodePool
from liteframe.data.sources.file_kind import is_parquet
from liteframe.data.sources.json_text import LinePart, line_parts
from liteframe.data.sources.kept_tables import ListFile
from liteframe.data.sources.list_root import ListRoot, news
from liteframe.data.sources.list_rows import empty_list, rows_of_file
from liteframe.data.sources.row_block import RowBlock, blocks_of
from liteframe.errors import DecodeError
from liteframe.system.runtime import usable_cores

PART_BYTES = 1 << 20
"""Of a list, that a process reads at a time: a second's work at most."""
_MOST_PROCESSES = 32
"""What they make of a list is put together by one process, which keeps up with about as many."""
_DEADLINE_S = 600.0


def list_blocks(file: ListFile, root: ListRoot, source: int, keep_unusable: bool) -> Iterator[RowBlock]:
    """The rows of a list in blocks, see `blocks_of`. JSONL is read by several processes, whichever other form by this.

    Args:
        file: the list.
        root: what its names are held to; it is told what other processes see of the disk.
        source: number of the list.
        keep_unusable: as of `blocks_of`.

    Raises:
        ManifestError: the list as a whole cannot be read, or is empty.
    """
    empty = True
    for block in _blocks(file, root, source, keep_unusable):
        empty = False
        yield block
    if empty:
        raise empty_list(file.url or str(file.path))


def _blocks(file: ListFile, root: ListRoot, source: int, keep_unusable: bool) -> Iterator[RowBlock]:
    parts = iter(()) if is_parquet(file.path) else line_parts(file.path, PART_BYTES)
    first, second = next(parts, None), next(parts, None)
    if first is None or second is None or usable_cores() == 1:
        yield from blocks_of(rows_of_file(file.path, file.url, root), source, keep_unusable)
        return
    asked: list[LinePart] = []

    def calls() -> Iterator[tuple[Any, ...]]:
        for part in chain((first, second), parts):
            asked.append(part)
            yield str(file.path), f"{__name__}:read_part", (file, part, source, keep_unusable)

    done: dict[int, Any] = {}
    next_one = 0
    with DecodePool(min(usable_cores(), _MOST_PROCESSES), _DEADLINE_S) as pool:
        for index, answer in pool.call(calls()):
            done[index] = answer
            while next_one in done:
                answer = done.pop(next_one)
                if isinstance(answer, DecodeError):  # of a process that died: what is wrong is seen here, or nothing is
                    block = _part_block(file, root, asked[next_one], source, keep_unusable)
                else:
                    block, seen = answer
                    root.take_in(seen)
                next_one += 1
                if block is not None:
                    yield block


def read_part(
    file: ListFile, part: LinePart, source: int, keep_unusable: bool
) -> tuple[RowBlock | None, dict[str, Any]]:
    """The rows of a part in a block, if there are any, and what was seen of the disk for them.

    To be called by processes that read parts of one list, once.
    """
    root = _held_root(file)
    before = root.seen()
    block = _part_block(file, root, part, source, keep_unusable)
    return block, news(before, root.seen())


_held_root = lru_cache(1)(ListFile.held_root)


def _part_block(file: ListFile, root: ListRoot, part: LinePart, source: int, keep_unusable: bool) -> RowBlock | None:
    rows = rows_of_file(file.path, file.url, root, part=part)
    return next(blocks_of(rows, source, keep_unusable, most=part.end - part.start), None)
