"""Templates and tables as text: Jinja with the filters that the pages need, Markdown and CSV of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from liteframe.system.atomic import atomic_write_text

from .wording import listed


def markdown(table: pd.DataFrame, align: str = "right") -> str:
    """A Markdown table, first column to the left and the others to the right, unless all are to the left."""
    rule = ["---", *["---:" if align == "right" else "---"] * (len(table.columns) - 1)]
    lines = [list(map(str, table.columns)), rule, *table.astype(str).to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


@cache
def _templates() -> Environment:
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # Markdown, made from this repository's own records
    )
    found.filters |= {"md": markdown, "listed": listed}
    return found


def render(template: str, **values: Any) -> str:
    """A page; never more than one empty line in a row."""
    lines = [line.rstrip() for line in _templates().get_template(template).render(**values).splitlines()]
    kept = [line for place, line in enumerate(lines) if line or (place and lines[place - 1])]
    return "\n".join(kept).strip() + "\n"


def csv(table: pd.DataFrame) -> str:
    """A table as CSV, floats with four decimals or, from 100 on, two."""

    def plain(value: Any) -> Any:
        if not isinstance(value, float | np.floating):
            return value
        text = "" if np.isnan(value) else f"{value:.2f}" if abs(value) >= 100 else f"{value:.4f}"
        return text.rstrip("0").rstrip(".") if "." in text else text

    return str(table.map(plain).to_csv(index=False, lineterminator="\n"))


class Output:
    """Writes texts under a folder, or says which of them are not there already.

    Args:
        folder: of all of them.
        check: write nothing.
    """

    def __init__(self, folder: Path, check: bool = False) -> None:
        self.folder, self.check = folder, check
        self.stale: list[Path] = []

    def text(self, name: str, text: str) -> None:
        """A file that has to have this text."""
        path = self.folder / name
        if not self.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_text(path, text)
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            self.stale.append(path)

    def tables(self, tables: Mapping[str, pd.DataFrame]) -> None:
        """A CSV for each name."""
        for name, table in tables.items():
            self.text(f"tables/{name}.csv", csv(table))

    def pictures(self, names: Sequence[str]) -> list[Path]:
        """The paths of pictures to draw; none where only their being there is checked."""
        paths = [self.folder / "plots" / f"{name}.png" for name in names]
        if not self.check:
            return paths
        self.stale += [path for path in paths if not path.is_file()]
        return []
