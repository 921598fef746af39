"""Parquet: a row of the table is a row of the list, its columns are the fields."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from liteframe.errors import ConfigError, ManifestError

_ROWS_AT_A_TIME = 4096


def parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a Parquet file with their places (`file: row 3`); a null is a field that the row does not have.

    Raises:
        ConfigError: pyarrow is not installed.
        ManifestError: the file is no Parquet.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise ConfigError(
            f"{path}: Parquet is read by pyarrow, which is not installed: pip install 'liteframe[parquet]'"
        ) from error
    try:
        with ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(_ROWS_AT_A_TIME):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}: row {number}", _without_nulls(row)
    except (ArrowException, OSError) as error:
        raise ManifestError(f"{path}: not a Parquet file that can be read ({error})") from error


def _without_nulls(value: Any) -> Any:
    """Structs of a column all have the same fields, so those that a row does not use come as nulls."""
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
