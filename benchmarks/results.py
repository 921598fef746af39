"""Makes `RESULTS.md`, its plots and its tables from the committed records: `python benchmarks/results.py`.

With `--check` nothing is written; the exit code is 1 where a text is not what the records say, or a plot is missing.
"""

from __future__ import annotations

import sys
from pathlib import Path

from liteframe.errors import LiteFrameError
from report.results_page import write_results

FOLDER = Path(__file__).resolve().parent


def main(args: list[str], folder: Path = FOLDER) -> int:
    check = "--check" in args
    stale = write_results(folder, check)
    print(
        f"stale: {', '.join(map(str, stale))}"
        if stale
        else f"{'right' if check else 'written'}: {folder / 'RESULTS.md'}"
    )
    return int(bool(stale))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except LiteFrameError as error:
        sys.exit(f"error: {error}")
