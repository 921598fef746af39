"""Measures the paper's tables and figures on the tiny world, cell by cell, and writes the page of claims.

`python benchmarks/paper.py` measures what is missing; with `--page` it makes `PAPER.md`, its tables and its picture
from the records alone. What is done is skipped, what was broken off goes on; several processes may work at once.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from liteframe.bench.paper.cells import CELLS, FURTHER_CELLS, plan
from liteframe.bench.paper.work import Worker
from liteframe.command.cli import dispatch
from liteframe.command.library_warnings import quieten
from liteframe.errors import ConfigError, LiteFrameError
from liteframe.system.runtime import share_cores, tune_malloc
from report.paper_page import write_paper

RECORDS = Path(__file__).resolve().parent / "records"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="groups or cells to make; all by default")
    parser.add_argument("--seeds", nargs="+", type=int, help="of the worlds; all that the cells have by default")
    parser.add_argument("--beyond", action="store_true", help="measure what goes past the paper, and not its own cells")
    parser.add_argument("--hours", type=float, help="begin no cell that would go past them")
    parser.add_argument("--list", action="store_true", help="say what is done and what is open, and stop")
    parser.add_argument("--page", action="store_true", help="write the page from the records alone, and stop")
    parser.add_argument("--check", action="store_true", help="with --page: write nothing, exit 1 where it is stale")
    parser.add_argument("--threads", type=int, help="of torch; its own choice by default")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="runs that have what is needed are used")
    parser.add_argument("--records", type=Path, default=RECORDS, help="the page is written in the folder above")
    return parser


def main(args: list[str]) -> int:
    given = _parser().parse_args(args)
    if given.check and not given.page:
        raise ConfigError("--check: it checks the page, so give --page with it")
    if given.threads is not None and given.threads < 1:
        raise ConfigError(f"--threads {given.threads}: give a whole number above 0")
    if given.hours is not None and given.hours <= 0:
        raise ConfigError(f"--hours {given.hours:g}: give a number above 0")
    if given.page:
        stale = write_paper(given.records / "paper", given.check)
        if stale:
            print(f"{stale[0]} says something else than {given.records}: run `python benchmarks/paper.py --page`")
        return int(bool(stale))
    cells = FURTHER_CELLS if given.beyond else CELLS
    tasks = plan(given.only, given.seeds, cells)
    worker = Worker(given.runs, given.records / ("beyond" if given.beyond else "paper"), dispatch, cells)
    if given.list:
        print(worker.listing(tasks))
        return 0
    quieten()
    if given.threads is not None:
        import torch

        torch.set_num_threads(given.threads)
    complete = worker.work(tasks, given.hours)
    print("all of it is done" if complete else "not all of it is done; the same command goes on")
    write_paper(given.records / "paper")
    return int(bool(worker.failed))


if __name__ == "__main__":
    try:
        tune_malloc()
        share_cores()
        sys.exit(main(sys.argv[1:]))
    except LiteFrameError as error:
        sys.exit(f"error: {error}")
