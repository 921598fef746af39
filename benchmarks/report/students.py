"""Students of other shapes: what each costs at the tiny size beside its accuracy, as a table and for the picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from liteframe.bench.paper.cells import ALL_SEEDS, CTD, FRAMES, LMA
from liteframe.system.json_files import read_json

from .evidence import Evidence
from .provenance import measured_on
from .verdicts import MISSING, OPEN, judge_difference
from .wording import interval, words

PAPER, ITSELF, NOT_TRAINED = "paper", "itself", "-"
ADAPTED = {CTD: "after CTD", LMA: "after LMA"}
"""A student of the run -> what has been trained in it and in its like."""
_RECORD = "student_shapes.json"
_COLUMNS = ("mflops_per_frame", "parameters", "ms")


def costs_of_shapes(folder: Path) -> pd.DataFrame:
    """Costs by shape, from the record of `benchmarks/student_shapes.py` in a folder; empty where there is none."""
    path = folder / _RECORD
    rows = read_json(path)["rows"] if path.is_file() else []
    return pd.DataFrame(rows, columns=["shape", *_COLUMNS]).set_index("shape")


def made_by(folder: Path) -> str:
    """Where and by which code the costs were measured; empty where they were not."""
    path = folder / _RECORD
    return measured_on(read_json(path)["environment"]) if path.is_file() else ""


def labels() -> dict[str, str]:
    """Shape -> what tables call it; the first is the paper's."""
    shapes: dict[str, str] = words()["students"]
    return shapes


def method_of(shape: str, own: str) -> str:
    """The method that is a student of this shape, trained like the run's `own`, which is `CTD` or `LMA`."""
    return own if shape == PAPER else f"{'ctd' if own == CTD else 'lma'}-{shape}"


def table(evidence: Evidence, costs: pd.DataFrame, noise: Mapping[str, float | None]) -> pd.DataFrame:
    """A line for each shape: its costs, and its accuracy less that of the paper's, mean of all frame counts.

    Args:
        evidence: of what goes past the paper.
        costs: of `costs_of_shapes`.
        noise: `CTD` and `LMA` -> how far two trainings of the same student are apart.
    """
    rows = []
    for shape, text in labels().items():
        gains = {title: _gain(evidence, shape, own, noise.get(own)) for own, title in ADAPTED.items()}
        rows.append({"student": text, **_costs(costs, shape), **gains})
    return pd.DataFrame(rows)


def _gain(evidence: Evidence, shape: str, own: str, noise: float | None) -> str:
    method = method_of(shape, own)
    if shape == PAPER:
        return ITSELF
    if not evidence.wanted([(method, min(FRAMES))]):
        return NOT_TRAINED
    gain = evidence.gain(method, own)
    open_mark = " ~" if judge_difference("", gain, ALL_SEEDS, noise=noise).verdict == OPEN else ""
    return interval(gain, signs=True, wanted=ALL_SEEDS) + open_mark


def _costs(costs: pd.DataFrame, shape: str) -> dict[str, str]:
    names = ("MFLOP a frame", "the paper's over this", "M parameters", "ms")
    if shape not in costs.index:
        return dict.fromkeys(names, MISSING)
    own, paper = costs.loc[shape], costs.loc[PAPER]
    operations, fewer = own["mflops_per_frame"], paper["mflops_per_frame"] / own["mflops_per_frame"]
    cells = (f"{operations:.1f}", f"{fewer:.2f}", f"{own['parameters'] / 1e6:.2f}", f"{own['ms']:.1f}")
    return dict(zip(names, cells, strict=True))


def points(evidence: Evidence, costs: pd.DataFrame, own: str) -> pd.DataFrame:
    """Costs of the shapes that were trained like `own`, and their accuracy less that of the paper's."""
    rows = {PAPER: {**costs.loc[PAPER], "gain": 0.0, "low": 0.0, "high": 0.0}}
    for shape in labels():
        gain = evidence.gain(method_of(shape, own), own)
        if shape != PAPER and gain is not None and shape in costs.index:
            rows[shape] = {**costs.loc[shape], "gain": gain.mean, "low": gain.low, "high": gain.high}
    return pd.DataFrame.from_dict(rows, orient="index")
