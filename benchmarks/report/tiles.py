"""The table of tiles in `docs/evaluation.md`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from liteframe.system.json_files import read_json

from .render import markdown


def blocks(folder: Path) -> dict[str, str]:
    """Name of the markers in the page -> the table: a line a scale and way, the mean over models and their range."""
    rows = pd.DataFrame(read_json(folder / "tiles.json")["rows"])
    types = pd.DataFrame(rows.by_type.tolist())
    lines = [
        {
            "scale": scale,
            "shown": way,
            "visual tokens": f"{group.visual_tokens.median():.0f}",
            "accuracy": f"{group.accuracy.mean():.3f} ({group.accuracy.min():.3f} to {group.accuracy.max():.3f})",
            **{name: f"{types.loc[group.index, name].mean():.2f}" for name in types},
        }
        for (scale, way), group in rows.groupby(["scale", "way"], sort=False)
    ]
    return {"tiles": markdown(pd.DataFrame(lines))}
