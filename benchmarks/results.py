"""Makes `RESULTS.md` and its plots from the committed records: `python benchmarks/results.py`.

With `--check` nothing is written; the exit code is 1 where the page says something else than the records, or a plot
that it shows is not there.
"""

from __future__ import annotations

import sys
from pathlib import Path

from liteframe.bench.results_page import results_page
from liteframe.bench.results_plots import draw, picture_names
from liteframe.bench.results_records import read_records
from liteframe.errors import LiteFrameError

FOLDER = Path(__file__).resolve().parent


def main(args: list[str], folder: Path = FOLDER) -> int:
    records = read_records(folder / "records")
    pictures = {name: f"plots/{name}.png" for name in picture_names(records)}
    page, target = results_page(records, pictures), folder / "RESULTS.md"
    if "--check" in args:
        agrees = target.is_file() and target.read_text(encoding="utf-8") == page
        return int(not agrees or not all((folder / path).is_file() for path in pictures.values()))
    draw(records, folder / "plots")
    target.write_text(page, encoding="utf-8")
    print(f"written: {target}, {len(pictures)} plots")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except LiteFrameError as error:
        sys.exit(f"error: {error}")
