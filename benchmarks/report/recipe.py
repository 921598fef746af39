"""The tables of `docs/recipe.md`: what each choice of the recipe does on the tiny world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from liteframe.system.json_files import read_json

from .render import markdown

_FIT = {
    "explained_variance_mean": "mean of channels",
    "explained_variance_worst": "worst channel",
    "centred_cosine": "centred cosine",
}
_UNCLIPPED, _SHOWN = "standardised, nothing clipped", "standardised, residuals clipped by channel: Huber's"
_LOGGED = ("loss", "mse", "explained_variance", "centred_cosine")


def blocks(folder: Path) -> dict[str, str]:
    """Name of the markers in the page -> the table that stands between them, from the records in a folder."""
    rows = _rows(folder / "recipe")
    tables = {"ctd": _ctd, "film": _by_frames, "lma": _by_frames}
    found = {str(name): tables[str(name)](group) for name, group in rows.groupby("table")}
    return {**found, "curve": _curve(rows[(rows.case == "hard") & (rows.seed == 4)].set_index("about"))}


def _rows(folder: Path) -> pd.DataFrame:
    """One row a training: table, teacher, seed, what was changed in a few words, and what was measured."""
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.json")):
        record = read_json(path)
        which = {name: record["settings"][name] for name in ("case", "seed")}
        for row in record["variants"].values():
            table = "lma" if "accuracy" in row else "film" if which["case"] == "film" else "ctd"
            rows.append({"table": table, **which, **row})
    return pd.DataFrame(rows)


def _ctd(rows: pd.DataFrame) -> str:
    """A line a choice and teacher, in the order of work."""
    unclipped = rows[rows.about == _UNCLIPPED].set_index(["case", "seed"]).explained_variance
    rows = rows.assign(less=[row.explained_variance - unclipped.get((row.case, row.seed)) for row in rows.itertuples()])
    lines = [
        {
            "CTD": about,
            "teacher": case,
            "seeds": _seeds(group),
            "explained variance": _mean_and_range(group.explained_variance),
            "less that unclipped, same seeds": "" if about == _UNCLIPPED else _mean_and_range(group.less, "+.3f"),
            **{title: _mean_and_range(group[name]) for name, title in _FIT.items()},
            "channels not learnt": _mean_and_range(group.stuck_channels, ".0f"),
        }
        for (case, about), group in rows.groupby(["case", "about"], sort=False)
    ]
    return markdown(pd.DataFrame(lines))


def _by_frames(rows: pd.DataFrame) -> str:
    """A line a choice, with what was measured at each number of frames, and less what the first gives on the seed."""
    title = "LMA" if rows.table.iat[0] == "lma" else "frames of CTD's windows"
    of_frames = pd.DataFrame([_measured(row) for row in rows.to_dict("records")], index=rows.index)
    mean = rows.assign(mean=of_frames.mean(axis=1))
    first = mean[mean.about == rows.about.iat[0]].set_index("seed")["mean"]
    less = mean["mean"] - mean.seed.map(first)
    lines = [
        {
            title: about,
            "seeds": _seeds(group),
            **{f"{count} frames": _mean_and_range(of_frames.loc[group.index, count]) for count in of_frames},
            "less the first, mean": "" if about == rows.about.iat[0] else _mean_and_range(less[group.index], "+.3f"),
        }
        for about, group in rows.groupby("about", sort=False)
    ]
    return markdown(pd.DataFrame(lines))


def _measured(row: dict[str, Any]) -> dict[int, float]:
    """Accuracy, or explained variance, by frames."""
    if row["table"] == "lma":
        return {int(count): found["accuracy"] for count, found in row["accuracy"].items()}
    return {int(count): found for count, found in row["explained_variance_by_frames"].items()}


def _curve(rows: pd.DataFrame) -> str:
    """How a log goes, step by step, of what is shipped from a start from nothing."""
    curves = pd.DataFrame({name: dict(map(tuple, rows.curves[_SHOWN][f"train/{name}"])) for name in _LOGGED})
    lines = curves.rename_axis("step").reset_index().iloc[:: max(1, len(curves) // 10)]
    return markdown(lines.astype({"step": int}).map(lambda value: value if isinstance(value, int) else f"{value:.3f}"))


def _seeds(group: pd.DataFrame) -> str:
    return ", ".join(map(str, sorted(group.seed)))


def _mean_and_range(values: pd.Series, form: str = ".3f") -> str:
    mean, low, high = (format(value, form) for value in (values.mean(), values.min(), values.max()))
    return mean if low == high else f"{mean} ({low} to {high})"
