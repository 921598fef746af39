"""Fills the README's results in from the committed records: `python benchmarks/readme_results.py`.

With `--check` nothing is written; the exit code is 1 where the README says something else than the records.
"""

from __future__ import annotations

import sys
from pathlib import Path

from liteframe.errors import LiteFrameError
from report.readme import blocks

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"


def fill(text: str, name: str, block: str) -> str:
    """The text with what is between the markers of that name replaced."""
    begin, end = f"<!-- {name}: begin (made by benchmarks/readme_results.py) -->", f"<!-- {name}: end -->"
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n{block}\n{end}{after}"


def main(args: list[str]) -> int:
    text = filled = README.read_text(encoding="utf-8")
    for name, block in blocks(ROOT / "benchmarks" / "records").items():
        filled = fill(filled, name, block)
    if "--check" in args:
        return int(filled != text)
    README.write_text(filled, encoding="utf-8")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except LiteFrameError as error:
        sys.exit(f"error: {error}")
