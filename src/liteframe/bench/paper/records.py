"""The record of a cell: where it lies, whether it still answers to the cell, and what is in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from liteframe.bench.paper.cells import PaperCell
from liteframe.bench.records import recorded_arm, write_record
from liteframe.errors import DataError
from liteframe.system.json_files import read_json, write_json

_FIELDS = ("kind", "cell", "seed", "settings", "environment", "seconds", "stages", "videos", "rows")
_KINDS: dict[str, Any] = {"environment": dict, "seconds": (int, float), "stages": list, "videos": list, "rows": list}
_ENVIRONMENT = ("device", "threads", "dtype", "packages")
_TOKENS = ("encoder", "llm", "asked", "mean_over_layers")


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
        DataError: the file is no record of this cell; the message names file and field.
    """
    path = record_path(records, cell, seed)
    if not path.is_file():
        return None
    record = read_json(path)
    if missing := [name for name in _FIELDS if name not in record]:
        raise DataError(f"{path}: not the record of a cell, it has no {missing[0]!r}; remove it and run `make paper`")
    if record["settings"] != cell.describe():
        return None
    if wrong := _first_wrong(record, cell):
        raise DataError(f"{path}: {wrong}; remove it and run `make paper`")
    return record


def row_arm(row: Mapping[str, Any]) -> str:
    """The arm that a row is of, by the settings that it says."""
    return recorded_arm(str(row["arm"]), row.get("how"))


def open_arms(record: Mapping[str, Any], cell: PaperCell) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Arms of the cell, with their frame counts, that its record has no row of: their method worked otherwise then."""
    there = {(row_arm(row), row["frames"]) for row in record["rows"]}
    return tuple((arm, counts) for arm, counts in cell.arms if not {(arm, count) for count in counts} <= there)


def add_arms(
    record: Mapping[str, Any],
    cell: PaperCell,
    environment: Mapping[str, Any],
    seconds: float,
    stages: Sequence[Mapping[str, Any]],
    answers: Mapping[str, Any],
) -> dict[str, Any]:
    """A record with the rows of its `open_arms` measured anew, the other rows as they were.

    Args:
        record: of the cell, as it is.
        cell: what it is of.
        environment: that the new rows were measured in; it stands in the field ``again``, with their arms and seconds.
        seconds: that they took.
        stages: that made the models now.
        answers: of ``answer``, for the open arms and for one row that the record has, which shows that the models are
            the same.

    Raises:
        DataError: world, stages or the answers of the row that both have are not those of the record.
    """
    # records of earlier code tell no manifest
    if record["videos"] != answers["videos"] or record.get("manifest") not in (None, answers["manifest"]):
        raise DataError(f"{cell.name}: its record is of another world than {_OTHER_RUN}")
    now = {stage["name"]: stage.get("digest") for stage in stages}
    for stage in record["stages"]:
        if stage.get("digest") and now.get(stage["name"], stage["digest"]) != stage["digest"]:
            raise DataError(f"{cell.name}: stage {stage['name']} of its record is not that of {_OTHER_RUN}")
    wanted = open_arms(record, cell)
    found = {(row_arm(row), row["frames"]): row for row in record["rows"]}
    for row in answers["rows"]:
        point = (str(row["arm"]), int(row["frames"]))
        if point in found and (gap := _changed(found[point]["right"], row["right"])) > LARGEST_CHANGE:
            raise DataError(
                f"{cell.name}: {point[0]} at {point[1]} frames answers {gap:.1%} of the questions otherwise than in its"
                f" record, so the models are not those of {_OTHER_RUN}"
            )
        found.setdefault(point, dict(row))
    again = {"arms": [arm for arm, _ in wanted], "seconds": round(seconds, 1), "environment": dict(environment)}
    rows = [found[arm, count] for arm, counts in cell.arms for count in counts]
    return {**record, "rows": rows, "again": [*record.get("again", ()), again]}


LARGEST_CHANGE = 0.05
"""One answer in twenty: so many may change by rounding on another machine, far fewer than by another training."""
_OTHER_RUN = "this run; remove the record to measure the whole cell anew"


def _changed(before_Q: Sequence[int], now_Q: Sequence[int]) -> float:
    """Share of the questions that were answered otherwise."""
    return sum(one != other for one, other in zip(before_Q, now_Q, strict=True)) / len(before_Q)


def rewrite_cell(records: Path, cell: PaperCell, seed: int, record: Mapping[str, Any]) -> Path:
    """Writes a record that was read, and added to, whole or not at all."""
    return write_json(record_path(records, cell, seed), record)


def _first_wrong(record: Mapping[str, Any], cell: PaperCell) -> str | None:
    """What is wrong with the fields of a record, in words; None where nothing is."""
    for name, kind in _KINDS.items():
        if not isinstance(record[name], kind) or isinstance(record[name], bool):
            return f"field {name!r} is {type(record[name]).__name__}"
    if missing := [name for name in _ENVIRONMENT if name not in record["environment"]]:
        return f"field 'environment' has no {missing[0]!r}"
    if not record["videos"]:
        return "field 'videos' is empty"
    if any(not isinstance(stage, Mapping) or "name" not in stage for stage in record["stages"]):
        return "field 'stages' has a stage without 'name'"
    wanted = [(arm, count) for arm, counts in cell.arms for count in counts]
    found = [(row.get("arm"), row.get("frames")) if isinstance(row, Mapping) else row for row in record["rows"]]
    if found != wanted:
        differ = [point for point in (*found, *wanted) if point not in wanted or point not in found]
        return f"field 'rows' is not the cell's arms and frames, see {differ[0] if differ else 'their order'}"
    for row in record["rows"]:
        if wrong := _wrong_row(row, len(record["videos"])):
            return f"row of {row['arm']} at {row['frames']} frames: {wrong}"
    return None


def _wrong_row(row: Mapping[str, Any], questions: int) -> str | None:
    right, tokens = row.get("right"), row.get("tokens")
    if not isinstance(right, list) or len(right) != questions:
        length = len(right) if isinstance(right, list) else "no"
        return f"field 'right' has {length} answers to {questions} questions"
    if not set(map(repr, right)) <= {"0", "1"}:
        return "field 'right' has something else than 0 and 1"
    if not isinstance(tokens, Mapping) or not set(_TOKENS) <= tokens.keys():
        return f"field 'tokens' lacks some of {', '.join(_TOKENS)}"
    return None
