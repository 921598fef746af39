"""What the records of the cells say: the answers of every arm, and what can be computed from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from liteframe.bench.latency_record import read_latency
from liteframe.bench.records import RowRecord, read_json, rows_of
from liteframe.errors import DataError
from liteframe.evaluation.paired import Estimate, estimate
from liteframe.paper.agreement import OneWorld, require_same_models
from liteframe.paper.cells import ALL_SEEDS, CELLS, PaperCell, plan
from liteframe.paper.records import open_arms, read_cell, record_path, row_arm
from liteframe.paper.shapes import Shapes

Point = tuple[str, int]
"""An arm and a frame count."""
Weights = Mapping[Point, float]
"""A sum of accuracies, each with a weight: a difference, a mean over frame counts, or a value between two of them."""
LATENCIES = "latency*.json"
"""Records of `liteframe latency`, in the same place."""
REPORTS = "tiny-seed{seed}/report.json"
"""The sweep's report of a seed, beside the folder of the cells' records."""


@dataclass
class Evidence:
    """All records that there are.

    Attributes:
        right: arm and frames -> seed -> 1 or 0 for each question.
        tokens: arm and frames -> tokens of a video, see ``answer``.
        videos: seed -> the video of each question.
        times: seed -> rows of the sweep's report, which have latencies; ``threads`` those that it ran with.
        open_cells: name -> the seeds that have no record yet.
        made: the records themselves, by cell and seed.
        shapes: records of latencies at the paper's shapes, by the name of the machine's kind.
        planned: arm and frames -> the seeds that its cell has.
    """

    right: dict[Point, dict[int, np.ndarray]] = field(default_factory=dict)
    tokens: dict[Point, dict[str, float | None]] = field(default_factory=dict)
    videos: dict[int, np.ndarray] = field(default_factory=dict)
    times: dict[int, list[RowRecord]] = field(default_factory=dict)
    threads: dict[int, int | None] = field(default_factory=dict)
    open_cells: dict[str, list[int]] = field(default_factory=dict)
    made: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    shapes: dict[str, Shapes] = field(default_factory=dict)
    planned: dict[Point, tuple[int, ...]] = field(default_factory=lambda: planned_seeds(CELLS))
    _one_world: OneWorld = field(default_factory=OneWorld, repr=False)
    _renamed: set[tuple[Point, int]] = field(default_factory=set, repr=False)

    def add(self, record: Mapping[str, Any], path: str = "record") -> None:
        """Takes in the record of a cell; `path` is that of its file.

        Raises:
            DataError: it is of another world or run than another record of the seed, or a point is measured twice.
        """
        seed, name = int(record["seed"]), str(record["cell"])
        self.videos[seed] = self._one_world.require(record, path)
        self.made[name, seed] = dict(record)
        for row in record["rows"]:
            point = (row_arm(row), int(row["frames"]))
            if point[0] != row["arm"]:
                # What a method was before its defaults changed fills only what no cell has measured as that arm.
                if seed in self.right.get(point, {}):
                    continue
                self._renamed.add((point, seed))
            elif (point, seed) in self._renamed:
                self._renamed.remove((point, seed))
            elif seed in self.right.get(point, {}):
                raise DataError(
                    f"{point[0]} at {point[1]} frames, seed {seed}: measured in two cells; remove one record"
                )
            self.right.setdefault(point, {})[seed] = np.asarray(row["right"], dtype=np.float64)
            self.tokens[point] = dict(row["tokens"])

    def wanted(self, points: Iterable[Point]) -> list[int]:
        """The seeds at which all of some points are to be measured."""
        seeds = [set(self.planned[point]) for point in points if point in self.planned]
        return sorted(set.intersection(*seeds)) if seeds else []

    def accuracy(self, arm: str, frames: int, seeds: Sequence[int] | None = None) -> Estimate | None:
        """Accuracy over all seeds that there are, or these; None where there is none."""
        return self.combine({(arm, frames): 1.0}, seeds)

    def frames_of(self, arm: str) -> list[int]:
        """Frame counts at which an arm was asked."""
        return sorted(frames for name, frames in self.right if name == arm)

    def combine(
        self, weights: Weights | Callable[[int], Weights | None], seeds: Sequence[int] | None = None
    ) -> Estimate | None:
        """A weighted sum of accuracies, question by question, over the seeds that have all that it needs.

        Args:
            weights: of the points; or a function of the seed, which may give None where it has none.
            seeds: these alone; by default all.
        """
        values: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for seed, video_Q in sorted(self.videos.items()):
            if seeds is not None and seed not in seeds:
                continue
            of_seed = weights(seed) if callable(weights) else weights
            if not of_seed or any(seed not in self.right.get(point, {}) for point in of_seed):
                continue
            total_Q = np.zeros(len(video_Q))
            for point, weight in of_seed.items():
                total_Q += weight * self.right[point][seed]
            values[seed] = (video_Q, total_Q)
        return estimate(values) if values else None

    def milliseconds(self, arm: str, frames: int, field: str = "model_ms") -> dict[int, float]:
        """A latency by seed, from the sweep's reports; empty where none timed this arm."""
        return {
            seed: float(getattr(row, field))
            for seed, rows in sorted(self.times.items())
            for row in rows
            if (row.arm, row.frames) == (arm, frames)
        }

    def how_to_time(self, *arms: str) -> str:
        """The command that times arms which some seed's report lacks, with the seeds; empty where none does."""
        lacking = [
            str(seed)
            for seed in self.wanted((arm, min(self.frames_of(arm))) for arm in arms if self.frames_of(arm)) or ALL_SEEDS
            if not set(arms) <= {row.arm for row in self.times.get(seed, ())}
        ]
        if not lacking:
            return ""
        return f"not timed: `make bench RUN=runs/tiny-seed{lacking[0]}`{_others(lacking[1:])}"


def _others(seeds: Sequence[str]) -> str:
    return f" (and {', '.join(seeds)})" if seeds else ""


def difference(arm: str, other: str, frames: Sequence[int]) -> dict[Point, float]:
    """Weights of the accuracy of one arm less that of another, mean over frame counts."""
    share = 1.0 / len(frames)
    return {(arm, count): share for count in frames} | {(other, count): -share for count in frames}


def planned_seeds(cells: Sequence[PaperCell]) -> dict[Point, tuple[int, ...]]:
    """Arm and frames -> the seeds of its cell."""
    return {(arm, count): cell.seeds for cell in cells for arm, counts in cell.arms for count in counts}


def read_evidence(records: Path, cells: Sequence[PaperCell] = CELLS) -> Evidence:
    """Reads the records of the cells, and the sweep's reports beside them.

    Raises:
        DataError: a record cannot be read, or contradicts another.
    """
    evidence = Evidence(planned=planned_seeds(cells))
    for cell, seed in plan(cells=cells):
        record = read_cell(records, cell, seed)
        if record is None:
            evidence.open_cells.setdefault(cell.name, []).append(seed)
        elif (record["cell"], record["seed"]) != (cell.name, seed):
            raise DataError(f"{record_path(records, cell, seed)}: is the record of another cell; remove it")
        else:
            evidence.add(record, str(record_path(records, cell, seed)))
            if open_arms(record, cell):
                evidence.open_cells.setdefault(cell.name, []).append(seed)
    for seed in sorted({seed for cell in cells for seed in cell.seeds}):
        report = records.parent / REPORTS.format(seed=seed)
        if report.is_file():
            found = read_json(report)
            evidence.times[seed] = rows_of(found, str(report))
            evidence.threads[seed] = (found.get("environment") or {}).get("threads")
            require_same_models(evidence.times[seed], report, _answers(evidence, records, cells, seed))
    for path in sorted(records.parent.glob(LATENCIES)):
        found = read_json(path)
        if found.get("kind") == "latency" and found.get("settings", {}).get("size") == "real":
            evidence.shapes[path.stem] = Shapes(read_latency(path))
    return evidence


def _answers(
    evidence: Evidence, records: Path, cells: Sequence[PaperCell], seed: int
) -> dict[Point, tuple[float, str]]:
    """Arm and frames -> accuracy at a seed, and the file that says so."""
    return {
        (arm, count): (float(evidence.right[arm, count][seed].mean()), str(record_path(records, cell, seed)))
        for cell in cells
        for arm, counts in cell.arms
        for count in counts
        if seed in evidence.right.get((arm, count), {})
    }
