"""A long list, read by as many processes as there are cores."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from liteframe.data.decoding.processes.in_parts import in_parts, processes_for
from liteframe.data.sources.file_kind import is_parquet, require_source
from liteframe.data.sources.json_text import line_parts
from liteframe.data.sources.kept_tables import ListFile
from liteframe.data.sources.list_root import ListRoot
from liteframe.data.sources.list_rows import Part, empty_list, readable, rows_of_file
from liteframe.data.sources.parquet import RowGroups, group_parts
from liteframe.data.sources.row_block import RowBlock, blocks_of
from liteframe.errors import ManifestError
from liteframe.system.shown_url import shown_url

PART_BYTES = 1 << 20
"""Of JSONL, that a process reads at a time: a second's work at most."""
_MOST_BYTES = 32 << 20
"""Of the rows of a part: in Parquet, texts that repeat take a few bytes of the file each."""
Answer = tuple[RowBlock | None, dict[str, Any]]


def list_blocks(file: ListFile, root: ListRoot, source: int, keep_unusable: bool) -> Generator[RowBlock, None, None]:
    """The rows of a list in blocks, see `blocks_of`. JSONL and most Parquet are read by several processes.

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
        require_source(file.path, _name(file))
        parts, count = _parts(file.path)
        processes, first = processes_for(count), next(parts, None)
        if first is None or processes < 2:
            yield from blocks_of(rows_of_file(file.path, file.url, root), source, keep_unusable)
            return
        calls = ((file, part, source, keep_unusable) for part in chain([first], parts))
        for asked, answer in in_parts(f"{_name(file)} is read", read_part, calls, processes):
            if answer is None:
                yield from blocks_of(rows_of_file(file.path, file.url, root, part=asked[1]), source, keep_unusable)
                continue
            block, seen = answer
            root.take_in(seen)
            if block is not None:
                yield block


def _parts(path: Path) -> tuple[Iterator[Part], int]:
    """The parts of a list, none of one that is to be read as a whole, and about how many there are."""
    if not is_parquet(path):
        return line_parts(path, PART_BYTES), path.stat().st_size // PART_BYTES
    groups: list[RowGroups] = []
    with suppress(ManifestError):  # reading it says what is wrong
        groups = group_parts(path)
    return iter(groups), len(groups)


def read_part(file: ListFile, part: Part, source: int, keep_unusable: bool) -> Answer | None:
    """The rows of a part in a block, if there are any, and what was seen of the disk for them; None if too large.

    To be called by processes that read parts of one list, once.
    """
    root = _held_root(file)
    rows = rows_of_file(file.path, file.url, root, part=part)
    block = next(blocks_of(rows, source, keep_unusable, _MOST_BYTES), None)
    is_whole = block is None or block.fault is not None or sum(map(len, block.rows)) < _MOST_BYTES
    return (block, root.news()) if is_whole else None


_held_root = lru_cache(1)(ListFile.held_root)


def _name(file: ListFile) -> str:
    return shown_url(file.url) if file.url else str(file.path)
