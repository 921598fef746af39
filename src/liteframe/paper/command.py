"""``liteframe paper``."""

from __future__ import annotations

from pathlib import Path

from liteframe.cli import dispatch
from liteframe.errors import ConfigError

RECORDS = "benchmarks/records/paper"


def paper_command(
    only: list[str] | None = None,
    seeds: list[int] | None = None,
    hours: float | None = None,
    list: bool = False,
    page: bool = False,
    check: bool = False,
    threads: int | None = None,
    runs: str = "runs",
    records: str = RECORDS,
) -> int:
    """Measures the paper's tables and figures on the tiny world, cell by cell, and writes the page of claims.

    What is done is skipped, what was broken off goes on; several processes may work at once.

    Args:
        only: groups or cells to make; all by default.
        seeds: of the worlds; all that the cells have by default.
        hours: begin no cell that would go past them.
        list: say what is done and what is open, and stop.
        page: write the page and its plots from the records alone, and stop.
        check: with --page, write nothing; the exit code is 1 where the page says something else than the records.
        threads: of torch; its own choice by default.
        runs: folder of the runs; a run tiny-seedN in it that has what is needed is used as it is.
        records: folder of the records; the page is written two folders above it.
    """
    if check and not page:
        raise ConfigError("--check true: it checks the page, so give --page true with it")
    if threads is not None and threads < 1:
        raise ConfigError(f"--threads {threads}: give a whole number above 0")
    if hours is not None and hours <= 0:
        raise ConfigError(f"--hours {hours:g}: give a number above 0")
    from liteframe.paper.page import check_page, write_page

    if page:
        if check:
            return 0 if check_page(Path(records)) else 1
        print(write_page(Path(records)))
        return 0
    from liteframe.paper.cells import plan
    from liteframe.paper.work import Worker

    tasks = plan(only, seeds)
    worker = Worker(Path(runs), Path(records), dispatch)
    if list:
        print(worker.listing(tasks))
        return 0
    from liteframe.lightning_cli import quieten

    quieten()
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    complete = worker.work(tasks, hours)
    print("all of it is done" if complete else "not all of it is done; the same command goes on")
    print(write_page(Path(records)))
    return 1 if worker.failed else 0
