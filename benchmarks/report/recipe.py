"""The tables of `docs/recipe.md`: what each choice of the recipe does on the tiny world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from liteframe.system.json_files import read_json

from .render import markdown

_FIT = {
    "explained_variance": "explained variance",
    "explained_variance_mean": "mean of channels",
    "explained_variance_worst": "worst channel",
    "centred_cosine": "centred cosine",
}
_SHOWN, _LOGGED = (
    "standardised, residuals clipped by channel: Huber's",
    ("loss", "mse", "explained_variance", "centred_cosine"),
)
_CASES = {"plain": "plain", "hard": "hard", "film": "films"}


def blocks(folder: Path) -> dict[str, str]:
    """Name of the markers in the page -> the table that stands between them, from the records in a folder."""
    rows = _rows(folder / "recipe")
    tables = {str(stage): _table(group, str(stage)) for stage, group in rows.groupby("stage")}
    return {**tables, "curve": _curve(rows[(rows.case == "hard") & (rows.seed == 4)].set_index("about"))}


def _rows(folder: Path) -> pd.DataFrame:
    """One row a training: teacher, seed, stage, what was changed in a few words, and what was measured."""
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.json")):
        record = read_json(path)
        which = {name: record["settings"][name] for name in ("case", "seed")}
        variants = record["variants"].values()
        rows += [{**which, "stage": "lma" if "accuracy" in row else "ctd", **row} for row in variants]
    return pd.DataFrame(rows)


def _table(rows: pd.DataFrame, stage: str) -> str:
    """A line a choice and teacher, in the order of work."""
    measures = _fit_of if stage == "ctd" else _accuracy_of
    lines = [
        {stage.upper(): about, "teacher": _CASES[case], "seeds": _seeds(group), **measures(group)}
        for (case, about), group in rows.groupby(["case", "about"], sort=False)
    ]
    return markdown(pd.DataFrame(lines))


def _curve(rows: pd.DataFrame) -> str:
    """How a log goes, step by step, of what is shipped from a start from nothing."""
    curves = pd.DataFrame({name: dict(map(tuple, rows.curves[_SHOWN][f"train/{name}"])) for name in _LOGGED})
    lines = curves.rename_axis("step").reset_index().iloc[:: max(1, len(curves) // 10)]
    return markdown(lines.astype({"step": int}).map(lambda value: value if isinstance(value, int) else f"{value:.3f}"))


def _seeds(group: pd.DataFrame) -> str:
    return ", ".join(map(str, sorted(group.seed)))


def _fit_of(group: pd.DataFrame) -> dict[str, str]:
    found = {title: _mean_and_range(group[name]) for name, title in _FIT.items()}
    return {**found, "channels not learnt": _mean_and_range(group.stuck_channels, ".0f")}


def _accuracy_of(group: pd.DataFrame) -> dict[str, str]:
    by_frames = pd.DataFrame([{n: each["accuracy"] for n, each in row.items()} for row in group.accuracy])
    return {f"{count} frames": _mean_and_range(by_frames[count]) for count in by_frames}


def _mean_and_range(values: pd.Series, form: str = ".3f") -> str:
    mean, low, high = (format(value, form) for value in (values.mean(), values.min(), values.max()))
    return mean if low == high else f"{mean} ({low} to {high})"
