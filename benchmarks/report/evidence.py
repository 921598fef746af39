"""What the tidy table says: accuracies and differences with intervals over videos, and times by seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from liteframe.bench.paper.cells import AGAIN, ALL_SEEDS, CELLS, FRAMES, PaperCell
from liteframe.bench.records import RowRecord

from .records import ALL, Records

SAMPLES, LEVEL = 2000, 0.95
Point = tuple[str, int]
"""A method (with `cells.CONTROL` before it on that base VLM) and a frame count."""
Weights = Mapping[Point, float]
"""A sum of accuracies, each with a weight: a difference, a mean over frame counts, or a value between two of them."""


@dataclass(frozen=True)
class Estimate:
    """A mean over questions, or over differences between two answers to the same question.

    Attributes:
        mean: of the seeds' means.
        low, high: 95 % percentile interval of that mean over draws of whole videos, each seed's from its own.
        by_seed: mean of each seed.
    """

    mean: float
    low: float
    high: float
    by_seed: dict[int, float]

    @property
    def seeds(self) -> list[int]:
        """In order."""
        return sorted(self.by_seed)


def estimate(values: Mapping[int, tuple[np.ndarray, np.ndarray]]) -> Estimate:
    """The mean of seeds. How far another training of the same world would fall is not in the interval.

    Args:
        values: seed -> ``video_Q`` (equal for questions that are drawn together) and ``value_Q``.
    """
    draws = np.mean([_draws(*values[seed], place) for place, seed in enumerate(sorted(values))], axis=0)
    low, high = np.quantile(draws, [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0])
    by_seed = {seed: float(value_Q.mean()) for seed, (_, value_Q) in sorted(values.items())}
    return Estimate(float(np.mean(list(by_seed.values()))), float(low), float(high), by_seed)


def _draws(video_Q: np.ndarray, value_Q: np.ndarray, place: int) -> np.ndarray:
    """The mean in each draw of a seed's videos; every pair of methods is drawn alike."""
    if video_Q.shape != value_Q.shape or value_Q.size == 0:
        raise ValueError(f"videos {video_Q.shape} and values {value_Q.shape} need one equal length above 0")
    _, cluster_Q = np.unique(video_Q, return_inverse=True)
    asked_V, sum_V = np.bincount(cluster_Q).astype(float), np.bincount(cluster_Q, weights=value_Q)
    drawn_DV = _drawn_videos(len(sum_V), place)
    return np.asarray(sum_V[drawn_DV].sum(-1) / asked_V[drawn_DV].sum(-1))


@cache
def _drawn_videos(videos: int, place: int) -> np.ndarray:
    """The videos of each draw, ``(SAMPLES, videos)``, which every pair of methods has in common."""
    return np.random.default_rng([0, place]).integers(0, videos, (SAMPLES, videos))


class Evidence:
    """All answers and times by method, frame count and seed.

    Args:
        records: all that was measured.
        cells: the cells that there are, measured or not.
    """

    def __init__(self, records: Records, cells: Sequence[PaperCell] = CELLS) -> None:
        self.records = records
        self.planned = {
            (method, count): cell.seeds for cell in cells for method, counts in cell.methods for count in counts
        }
        self.right: dict[Point, dict[int, np.ndarray]] = {}
        self.tokens: dict[Point, dict[str, float | None]] = {}
        self.times: dict[int, list[RowRecord]] = {}
        self._known: dict[tuple[tuple[tuple[Point, float], ...], tuple[int, ...]], Estimate] = {}
        whole = records.table[records.table.type == ALL]
        # What a method was before its defaults changed fills only what no cell has measured under its name.
        answers = whole[whole.kind == "answers"].sort_values("renamed", kind="stable")
        for row in answers.drop_duplicates(["base", "method", "frames", "seed"]).to_dict("records"):
            point = (row["base"] + row["method"], row["frames"])
            self.right.setdefault(point, {})[row["seed"]] = row["right"]
            self.tokens[point] = {
                "asked": _or_none(row["tokens_asked"]),
                "llm": _or_none(row["tokens"]),
                "mean_over_layers": _or_none(row["tokens_mean_over_layers"]),
            }
        seeds = {seed for cell in cells for seed in cell.seeds}
        for seed, rows in whole[whole.kind == "sweep"].groupby("seed")["row"]:
            if seed in seeds:
                self.times[int(str(seed))] = list(rows)

    def wanted(self, points: Iterable[Point]) -> list[int]:
        """The seeds at which all of some points are to be measured."""
        seeds = [set(self.planned[point]) for point in points if point in self.planned]
        return sorted(set.intersection(*seeds)) if seeds else []

    def frames_of(self, method: str) -> list[int]:
        """Frame counts at which a method was asked."""
        return sorted(frames for name, frames in self.right if name == method)

    def accuracy(self, method: str, frames: int, seeds: Sequence[int] | None = None) -> Estimate | None:
        """Accuracy over all seeds that there are, or these; None where there is none."""
        return self.combine({(method, frames): 1.0}, seeds)

    def gain(self, method: str, other: str, seeds: Sequence[int] | None = None) -> Estimate | None:
        """One method less another, mean over the frame counts of Table 1."""
        return self.combine(difference(method, other), seeds)

    def combine(
        self, weights: Weights | Callable[[int], Weights | None], seeds: Sequence[int] | None = None
    ) -> Estimate | None:
        """A weighted sum of accuracies, question by question, over the seeds that have all that it needs.

        Args:
            weights: of the points; or a function of the seed, which may give None where it has none.
            seeds: these alone; by default all.
        """
        values: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for seed, video_Q in sorted(self.records.videos.items()):
            of_seed = weights(seed) if callable(weights) else weights
            if (seeds is not None and seed not in seeds) or not of_seed:
                continue
            if all(seed in self.right.get(point, {}) for point in of_seed):
                total_Q = np.zeros(len(video_Q))
                for point, weight in of_seed.items():
                    total_Q += weight * self.right[point][seed]
                values[seed] = (video_Q, total_Q)
        if not values:
            return None
        if callable(weights):
            return estimate(values)
        key = (tuple(sorted(weights.items())), tuple(sorted(values)))
        if key not in self._known:
            self._known[key] = estimate(values)
        return self._known[key]

    def milliseconds(self, method: str, frames: int, field: str = "model_ms") -> dict[int, float]:
        """A latency by seed, from the sweeps' reports; empty where none timed this method."""
        return {
            seed: float(getattr(row, field))
            for seed, rows in sorted(self.times.items())
            for row in rows
            if (row.arm, row.frames) == (method, frames)
        }

    def untimed_seeds(self, *methods: str) -> list[int]:
        """The seeds whose report lacks some of these methods."""
        asked = [(name, min(counts)) for name in methods if (counts := self.frames_of(name))]
        seeds = self.wanted(asked) or ALL_SEEDS
        return [seed for seed in seeds if not set(methods) <= {row.arm for row in self.times.get(seed, ())}]

    def training_noise(self, *students: str) -> float | None:
        """The largest difference between two trainings of the same, over the seeds and these students.

        None where one is not measured at all its seeds.
        """
        largest = 0.0
        for student in students:
            found = self.gain(AGAIN[student], student)
            if found is None or set(found.seeds) != set(self.wanted([(AGAIN[student], count) for count in FRAMES])):
                return None
            largest = max(largest, *(abs(value) for value in found.by_seed.values()))
        return largest


def difference(method: str, other: str, frames: Sequence[int] = FRAMES) -> dict[Point, float]:
    """Weights of the accuracy of one method less that of another, mean over frame counts."""
    share = 1.0 / len(frames)
    return {(method, count): share for count in frames} | {(other, count): -share for count in frames}


def _or_none(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else float(value)
