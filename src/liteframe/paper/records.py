"""The record of a cell: where it lies, whether it still answers to the cell, and what is in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from liteframe.bench.records import read_json, write_record
from liteframe.errors import DataError
from liteframe.paper.cells import PaperCell

_FIELDS = ("kind", "cell", "seed", "settings", "environment", "seconds", "stages", "videos", "rows")


def record_path(records: Path, cell: PaperCell, seed: int) -> Path:
    """Where the record of a cell lies."""
    return records / f"seed{seed}" / f"{cell.name}.json"


def write_cell(
    records: Path,
    cell: PaperCell,
    seed: int,
    environment: Mapping[str, Any],
    seconds: float,
    stages: Sequence[Mapping[str, Any]],
    answers: Mapping[str, Any],
) -> Path:
    """Writes the record of a finished cell, whole or not at all.

    Args:
        records: folder of all records.
        cell: what was measured.
        seed: of the world.
        environment: of ``bench.environment``.
        seconds: that it took, the training of its student with it.
        stages: that made the models: name, seconds, tries, digest of the code.
        answers: of ``answer``.
    """
    data = {"cell": cell.name, "group": cell.group, "seed": seed, "seconds": round(seconds, 1), "stages": list(stages)}
    path = record_path(records, cell, seed)
    return write_record(path, cell.kind, environment, cell.describe(), {**data, **answers})


def read_cell(records: Path, cell: PaperCell, seed: int) -> dict[str, Any] | None:
    """The record of a cell; None where there is none, or one of other settings.

    Raises:
        DataError: the file is no record of a cell.
    """
    path = record_path(records, cell, seed)
    if not path.is_file():
        return None
    record = read_json(path)
    if missing := [name for name in _FIELDS if name not in record]:
        raise DataError(
            f"{path}: not the record of a cell, it has no {missing[0]!r}; remove it and run `liteframe paper`"
        )
    lengths = {len(row["right"]) for row in record["rows"]} | {len(record["videos"])}
    if len(lengths) != 1:
        raise DataError(f"{path}: its rows are of {sorted(lengths)} questions; remove it and run `liteframe paper`")
    return record if record["settings"] == cell.describe() else None
