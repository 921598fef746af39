"""Parquet: a row of the table is a row of the list, its columns are the fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from liteframe.data.sources.row_fields import MAX_TEXT, require_short
from liteframe.errors import ConfigError, ManifestError
from liteframe.system.installation import install_hint

_ROWS_AT_A_TIME = 256
"""Few, as texts that repeat take a few bytes of the file each, and their whole length in memory."""
_BYTES_AT_A_TIME = 1 << 20
_MOST_COLUMNS = 10_000
_ROWS_OF_A_PART = 4096
_MOST_ROWS_OF_A_GROUP, _MOST_BYTES_OF_A_GROUP = 32_768, 32 << 20
"""Of row groups that are read side by side: the rows of one are in memory at once, which take much more than these."""


@dataclass(frozen=True)
class RowGroups:
    """Consecutive row groups of a Parquet file.

    Attributes:
        start: number of the first one, from 0.
        end: of the first one behind them.
        number: rows that stand before them.
    """

    start: int
    end: int
    number: int


def parquet_rows(path: Path, part: RowGroups | None = None) -> Iterator[tuple[str, Any]]:
    """The rows of a Parquet file with their places (`file: row 3`); a null is a field that the row does not have.

    A row that cannot be read comes as the ManifestError that says so, and reading goes on behind it.

    Args:
        path: of the file.
        part: only the rows in this one of its `group_parts`.

    Raises:
        ConfigError: pyarrow is not installed.
        ManifestError: the file is no Parquet, or has more columns than any list.
    """
    with _opened(path) as file:
        columns = file.metadata.num_columns
        if columns > _MOST_COLUMNS:
            raise ManifestError(f"{path}: {columns:,} columns; a list of videos has at most {_MOST_COLUMNS:,}")
        number, groups = (part.number, range(part.start, part.end)) if part else (0, range(file.num_row_groups))
        for batch in file.iter_batches(_ROWS_AT_A_TIME, groups):
            long = batch.nbytes > MAX_TEXT
            for row in _rows(batch):
                number += 1
                where = f"{path}: row {number}"
                yield where, _checked(row, where, long)


def group_parts(path: Path) -> list[RowGroups]:
    """Parts that make up a Parquet file, some thousand rows each; none where a row group is too large for one part.

    Errors are those of `parquet_rows`.
    """
    parts, start, number = list[RowGroups](), 0, 0
    rows = size = 0
    with _opened(path) as file:
        groups = [file.metadata.row_group(index) for index in range(file.num_row_groups)]
    for index, group in enumerate(groups):
        if group.num_rows > _MOST_ROWS_OF_A_GROUP or group.total_byte_size > _MOST_BYTES_OF_A_GROUP:
            return []
        rows, size = rows + group.num_rows, size + group.total_byte_size
        if rows >= _ROWS_OF_A_PART or size >= _MOST_BYTES_OF_A_GROUP or index == len(groups) - 1:
            parts.append(RowGroups(start, index + 1, number))
            start, number, rows, size = index + 1, number + rows, 0, 0
    return parts


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile, read_metadata
    except ImportError as error:
        raise ConfigError(
            f"{path}: Parquet is read by pyarrow, which is not installed: {install_hint('parquet')}"
        ) from error
    try:
        # Else it takes in a row group of a column at once, which may be the whole file.
        metadata = _metadata(read_metadata, path, path.stat().st_mtime_ns)
        with ParquetFile(path, buffer_size=_BYTES_AT_A_TIME, metadata=metadata) as file:
            yield file
    except (ArrowException, OSError, ValueError) as error:
        raise ManifestError(f"{path}: not a Parquet file that can be read ({error})") from error


@lru_cache(1)
def _metadata(read: Callable[[Path], Any], path: Path, _mtime_ns: int) -> Any:
    """Read once by a process that reads many parts: in a long list it is long too."""
    return read(path)


def _checked(row: dict[str, Any] | str, where: str, long: bool) -> dict[str, Any] | ManifestError:
    if isinstance(row, str):
        return ManifestError(f"{where}: {row}")
    fields = _without_nulls(row)
    try:
        if long:
            require_short(fields, where)
    except ManifestError as error:
        return error
    return fields


def _rows(batch: Any) -> Iterator[dict[str, Any] | str]:
    """The rows of a batch; in place of one that Python cannot hold, why."""
    names = batch.schema.names
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        yield from [f"field '{twice}': is there twice; keep one of the columns"] * batch.num_rows
        return
    try:
        yield from batch.to_pylist()
    except (ValueError, TypeError, OverflowError):
        for index in range(batch.num_rows):
            yield _row(batch, index)


def _row(batch: Any, index: int) -> dict[str, Any] | str:
    row = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name] = column[index].as_py()
        except (ValueError, TypeError, OverflowError) as error:  # text that is no UTF-8, a date beyond the year 9999
            return f"field '{name}': cannot be read ({error}); repair it, or drop the column"
    return row


def _without_nulls(value: Any) -> Any:
    """Structs of a column all have the same fields, so those that a row does not use come as nulls."""
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
