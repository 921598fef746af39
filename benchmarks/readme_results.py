"""Fills the results in README and `docs/` in from the committed records: `python benchmarks/readme_results.py`.

With `--check` nothing is written; the exit code is 1 where a page says something else than the records.
"""

from __future__ import annotations

import sys
from pathlib import Path

from liteframe.errors import LiteFrameError
from report import eight_bits, readme, recipe, scale, streams, tiles

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": readme.headline_blocks,
    "docs/tiny_world.md": readme.tiny_world_blocks,
    "docs/stages.md": readme.stages_blocks,
    "docs/results.md": readme.measured_blocks,
    "docs/recipe.md": recipe.blocks,
    "docs/evaluation.md": tiles.blocks,
    "docs/export.md": eight_bits.blocks,
    "docs/scale.md": scale.blocks,
    "docs/streams.md": streams.blocks,
}


def fill(text: str, name: str, block: str) -> str:
    """The text with what is between the markers of that name replaced."""
    begin, end = f"<!-- {name}: begin (made by benchmarks/readme_results.py) -->", f"<!-- {name}: end -->"
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n{block}\n{end}{after}"


def main(args: list[str]) -> int:
    stale = False
    for page, blocks in PAGES.items():
        path = ROOT / page
        text = filled = path.read_text(encoding="utf-8")
        for name, block in blocks(ROOT / "benchmarks" / "records").items():
            filled = fill(filled, name, block)
        stale |= filled != text
        if "--check" not in args:
            path.write_text(filled, encoding="utf-8")
    return int(stale and "--check" in args)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except LiteFrameError as error:
        sys.exit(f"error: {error}")
