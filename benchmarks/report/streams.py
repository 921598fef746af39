"""The table of `docs/streams.md`: what a bounded memory answers about long videos."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from liteframe.system.json_files import read_json

from .render import markdown

RULES = {
    "everything": "everything is kept",
    "evenly spaced": "frames evenly spaced over the whole video, which a stream cannot know",
    "window": "the newest (`--forget window`)",
    "merge": "neighbours merged by loss and age (`--forget merge`)",
    "merge, by loss alone": "as merged, whatever the age",
    "merge, by age alone": "as merged, whatever the loss",
    "merge, mean for WAP": "as merged, to their mean",
    "merge, one of the two": "as merged, to one of the two",
}
"""Method in the record -> what the memory holds."""


def blocks(folder: Path) -> dict[str, str]:
    """Name of the markers in the page -> accuracy by what is kept, mean over the models of the record."""
    record = read_json(folder / "stream.json")
    rows = pd.DataFrame([row for model in record["models"] for row in model["rows"]])
    budget = rows.clips.where(rows.method != "everything").map("{:.0f} clips".format).replace("nan clips", "all")
    means = rows.assign(column=budget + ", " + rows.when).groupby(["method", "column"], sort=False).accuracy.mean()
    wide = means.map("{:.3f}".format).unstack("column").reindex(RULES)
    columns = [f"{clips}, {when}" for when in rows.when.unique() for clips in budget.unique()]
    table = wide[columns].fillna("").rename(index=RULES).rename_axis("the memory holds").reset_index()
    return {"memories": markdown(table)}
