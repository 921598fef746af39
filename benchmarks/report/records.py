"""All records as one tidy table: a row is a record x method x frames x question type x seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from liteframe.bench.latency_record import LatencyRecord, read_latency
from liteframe.bench.paper.cells import ALL_SEEDS, CELLS, CONTROL, FURTHER_CELLS, PaperCell, plan
from liteframe.bench.paper.records import CellRecord, read_cell, record_path
from liteframe.bench.records import STAGES, RowRecord, rows_of
from liteframe.errors import DataError
from liteframe.system.json_files import read_json

ALL = "all"
"""Question type of a row that is about all questions; these rows have tokens, times and single answers too."""
LARGEST_GAP = 0.01
"""One question in a hundred: so far may two runs of the same model be apart, by rounding on other machines."""
RUN_STAGES = ("world", "pretrain-vision", "pretrain-projector", "pretrain-llm", "cache", "ctd", "lma")
"""Of the run that the cells of a seed stand on; a cell's own stages come after them in its record."""
TIMES = tuple(f"{name}_ms" for name in (*STAGES, "model", "total"))
COLUMNS = (
    *("record", "kind", "seed", "base", "method", "frames", "type", "accuracy", "low", "high", "questions"),
    *("renamed", "right", "tokens_encoder", "tokens", "tokens_asked", "tokens_mean_over_layers", *TIMES, "row"),
)


@dataclass
class Records:
    """All that was measured.

    Attributes:
        table: the tidy table. ``kind`` is "answers" (a cell, with every single answer in ``right``) or "sweep" (a
            report of `liteframe bench`, with times, and the whole `RowRecord` in ``row``); ``base`` is "" for the run's
            own base VLM or `CONTROL`; ``renamed`` says that the record calls the method otherwise.
        videos: seed -> the video of each question.
        cells: name and seed -> the record of a cell; ``open_cells``: name -> seeds that lack one, or a method of it.
        sweeps: path -> report; ``mean_of``: the seeds that pages average, those of the cells that have a report.
        latency: name of the record -> latencies at real shapes.
    """

    table: pd.DataFrame
    videos: dict[int, np.ndarray] = field(default_factory=dict)
    cells: dict[tuple[str, int], CellRecord] = field(default_factory=dict)
    open_cells: dict[str, list[int]] = field(default_factory=dict)
    sweeps: dict[str, dict[str, Any]] = field(default_factory=dict)
    latency: dict[str, LatencyRecord] = field(default_factory=dict)
    mean_of: list[int] = field(default_factory=list)


def read_records(folder: Path, cells: Sequence[PaperCell] = CELLS) -> Records:
    """Everything under the folder of records.

    Raises:
        DataError: a record cannot be read, or contradicts another.
    """
    found = Records(pd.DataFrame(columns=list(COLUMNS)))
    rows = [*_cells(folder / "paper", cells, found), *_sweeps(folder, found)]
    if rows:
        found.table = pd.DataFrame(rows, columns=list(COLUMNS))
    for path in sorted(folder.glob("latency*.json")):
        data = read_json(path)
        if data.get("kind") == "latency" and data.get("settings", {}).get("size", "real") == "real":
            found.latency[path.stem] = read_latency(path)
    swept = set(found.table.seed[found.table.kind == "sweep"])
    found.mean_of = [seed for seed in ALL_SEEDS if seed in swept]
    require_same_models(found.table)
    return found


def read_beyond(folder: Path, cells: Sequence[PaperCell] = FURTHER_CELLS) -> Records:
    """Of the folder of records, what goes past the paper: cells of other runs, which compare with each other alone.

    Raises:
        DataError: a record cannot be read, or contradicts another.
    """
    found = Records(pd.DataFrame(columns=list(COLUMNS)))
    if rows := list(_cells(folder / "beyond", cells, found)):
        found.table = pd.DataFrame(rows, columns=list(COLUMNS))
    return found


def _cells(folder: Path, cells: Sequence[PaperCell], found: Records) -> Iterator[dict[str, Any]]:
    said: dict[tuple[int, str], tuple[str, Any]] = {}
    for cell, seed in plan(cells=cells, retired=True):
        path, record = record_path(folder, cell, seed), read_cell(folder, cell, seed)
        if not cell.retired and (record is None or record.open_methods(cell)):
            found.open_cells.setdefault(cell.name, []).append(seed)
        if record is None:
            continue
        if (record.cell, record.seed) != (cell.name, seed):
            raise DataError(f"{path}: is the record of another cell; remove it")
        _require_one_world(record, str(path), said)
        found.videos.setdefault(seed, np.asarray(record.videos))
        found.cells[cell.name, seed] = record
        for row in record.rows:
            point = (seed, f"{row.method} at {row.frames} frames")
            if row.method == row.arm and said.setdefault(point, (str(path), None))[0] != str(path):
                raise DataError(f"{point[1]}, seed {seed}: measured in two cells; remove one record")
            tokens: dict[str, Any] = {"tokens": row.tokens.llm}
            tokens |= {f"tokens_{name}": value for name, value in vars(row.tokens).items() if name != "llm"}
            about = {
                "record": f"{folder.name}/seed{seed}/{path.name}",
                "kind": "answers",
                "renamed": row.method != row.arm,
            }
            right_Q = np.asarray(row.right, dtype=np.float64)
            whole = {**about, **tokens, "right": right_Q, "accuracy": right_Q.mean()}
            yield from _by_type(vars(row), seed, row.method, whole)


def _require_one_world(record: CellRecord, name: str, said: dict[tuple[int, str], tuple[str, Any]]) -> None:
    """Raises DataError where a record is of other questions, world or run than the first of its seed that said it.

    Records of earlier code say less.
    """
    own: dict[str, Any] = {"list of questions": record.videos}
    if record.manifest:
        own["manifest"] = record.manifest
    for stage in record.stages:
        if stage["name"] in RUN_STAGES and stage.get("digest"):
            own.setdefault(f"stage {stage['name']}", stage["digest"])
    for what, value in own.items():
        before, known = said.setdefault((record.seed, what), (name, value))
        if known != value:
            raise DataError(
                f"{name}: its {what} is not that of {before}; remove those that were made on another world or run, and"
                " run `make paper`"
            )


def _sweeps(folder: Path, found: Records) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("tiny*/report.json")):
        name, report = path.relative_to(folder).as_posix(), read_json(path)
        rows = rows_of(report, str(path))
        if not rows:
            raise DataError(f"{path}: field 'rows' is empty; run `liteframe bench` again")
        found.sweeps[name] = report
        seed = (report.get("settings") or {}).get("seed")
        seed = int(path.parent.name.removeprefix("tiny-seed") or 0) if seed is None else int(seed)
        for row in rows:
            yield from _by_type(vars(row), seed, row.arm, _of_sweep(row, name))


def _of_sweep(row: RowRecord, record: str) -> dict[str, Any]:
    times = {name: float(getattr(row, name)) for name in TIMES}
    tokens = ("tokens_encoder", "tokens", "tokens_asked", "tokens_mean_over_layers")
    return {"record": record, "kind": "sweep", "renamed": False, "row": row, **times} | {
        name: getattr(row, name) for name in tokens
    }


def _by_type(row: Mapping[str, Any], seed: int, method: str, of_all: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row about all questions, and one a question type."""
    base = CONTROL if method.startswith(CONTROL) else ""
    shared = {"seed": seed, "base": base, "method": method.removeprefix(CONTROL), "frames": int(row["frames"])}
    whole = {"accuracy": row.get("accuracy"), "low": row.get("accuracy_low"), "high": row.get("accuracy_high")}
    yield {**shared, "type": ALL, **whole, "questions": row.get("questions"), **of_all}
    about = {name: of_all[name] for name in ("record", "kind", "renamed")}
    counts = row.get("per_type_questions") or {}
    for name, accuracy in (row.get("per_type") or {}).items():
        yield {**shared, **about, "type": name, "accuracy": accuracy, "questions": counts.get(name)}


def require_same_models(table: pd.DataFrame) -> None:
    """Raises DataError where a sweep's accuracy is not that which a cell measured: its times are of other models."""
    whole = table[(table.type == ALL) & (table.base == "") & ~table.renamed.astype(bool)]
    keys = ["method", "frames", "seed"]
    both = whole[whole.kind == "sweep"].merge(whole[whole.kind == "answers"], on=keys, suffixes=("", "_cell"))
    apart = both[(both.accuracy - both.accuracy_cell).abs() > LARGEST_GAP]
    for row in apart.itertuples():
        raise DataError(
            f"{row.record}: {row.method} at {row.frames} frames is right in {row.accuracy:.3f}, but in"
            f" {row.accuracy_cell:.3f} by {row.record_cell}: they are of different models; run `make bench` or"
            " `make paper` again"
        )
