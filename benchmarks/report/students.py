"""Students of other shapes: what each costs at the tiny size beside its accuracy, as a table and for the picture."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from liteframe.bench.paper.cells import ALL_SEEDS, CTD, FRAMES, LMA
from liteframe.system.json_files import read_json

from .evidence import Evidence
from .verdicts import MISSING
from .wording import interval, words

TEACHER, PAPER = "teacher", "paper"
ADAPTED = {CTD: "after CTD", LMA: "after LMA"}
"""A student of the run -> what has been trained in it and in its like."""
_COLUMNS = ("mflops_per_frame", "parameters", "ms")


def shapes(folder: Path) -> pd.DataFrame:
    """What shapes cost, by the names of `told`, from the record of `benchmarks/student_shapes.py` if it is there."""
    path = folder / "student_shapes.json"
    rows = read_json(path)["rows"] if path.is_file() else []
    return pd.DataFrame(rows, columns=["shape", *_COLUMNS]).set_index("shape")


def told() -> dict[str, str]:
    """Shape -> what tables call it; the first is the paper's."""
    shapes: dict[str, str] = words()["students"]
    return shapes


def method_of(shape: str, own: str) -> str:
    """The method that is a student of this shape, trained like the run's `own`, which is `CTD` or `LMA`."""
    return own if shape == PAPER else f"{'ctd' if own == CTD else 'lma'}-{shape}"


def table(evidence: Evidence, costs: pd.DataFrame) -> pd.DataFrame:
    """A line a shape: its costs, and its accuracy less that of the paper's, mean of all frame counts.

    Args:
        evidence: of what goes past the paper.
        costs: of `shapes`.
    """
    rows = []
    for shape, text in told().items():
        gains = {}
        for own, adapted in ADAPTED.items():
            method = method_of(shape, own)
            asked = shape != PAPER and evidence.wanted([(method, min(FRAMES))])
            gains[adapted] = interval(evidence.gain(method, own), signs=True, wanted=ALL_SEEDS) if asked else "-"
        rows.append({"student": text, **_costs(costs, shape), **gains})
    return pd.DataFrame(rows)


def _costs(costs: pd.DataFrame, shape: str) -> dict[str, str]:
    names = ("MFLOP a frame", "times fewer than the paper's", "M parameters", "ms")
    if shape not in costs.index:
        return dict.fromkeys(names, MISSING)
    own, paper = costs.loc[shape], costs.loc[PAPER]
    operations, fewer = own["mflops_per_frame"], paper["mflops_per_frame"] / own["mflops_per_frame"]
    found = (f"{operations:.1f}", f"{fewer:.2f}", f"{own['parameters'] / 1e6:.2f}", f"{own['ms']:.0f}")
    return dict(zip(names, found, strict=True))


def points(evidence: Evidence, costs: pd.DataFrame, own: str) -> pd.DataFrame:
    """Costs of the shapes that were trained like `own`, and their accuracy less that of the paper's."""
    rows = {PAPER: {**costs.loc[PAPER], "gain": 0.0, "low": 0.0, "high": 0.0}}
    for shape in told():
        found = evidence.gain(method_of(shape, own), own)
        if shape != PAPER and found is not None and shape in costs.index:
            rows[shape] = {**costs.loc[shape], "gain": found.mean, "low": found.low, "high": found.high}
    return pd.DataFrame.from_dict(rows, orient="index")
