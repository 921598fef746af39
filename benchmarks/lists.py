"""How long lists of videos take to open and to shuffle, and how much memory they take of the processes of a run.

python benchmarks/lists.py --output benchmarks/records/lists.json
python benchmarks/lists.py --rows 60000 --folder /scratch

Of each list: the first opening reads every row and keeps it in a folder of this command's own, the second maps what is
kept. `checked` is what LMA asks of each row, where there are conversations, and what a sampler does elsewhere: at the
first time of every row, then of what is kept. Then as many processes as there would be loader processes read rows at
random. Memory is anonymous memory, which
is a process's own; pages of mapped files, which all processes share and the system takes back where it is short, are
beside it. The longest lists and what is kept of them take 10 GB in --folder.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing.context import ForkContext
from pathlib import Path
from typing import Any
from unittest import mock

import psutil

from liteframe.bench.environment import environment
from liteframe.bench.records import write_record
from liteframe.data.loading.batching import BatchShape, TrainBatchSampler
from liteframe.data.sampling import KeyFrames
from liteframe.data.sources import kept_tables
from liteframe.data.sources.conversations import turns_of
from liteframe.data.sources.manifest import read_sources
from liteframe.data.sources.refused_rows import refused_rows
from liteframe.data.sources.row_checks import RowChecks
from liteframe.data.sources.row_table import RowTable
from liteframe.system.tables import aligned

_RANDOM_READS = 20_000
_ROWS_OF_A_GROUP = 10_000
_COLUMNS = (
    *("list_mb", "first_s", "rows_a_second", "peak_mb", "again_s", "checked_s", "checked_again_s"),
    *("own_mb", "shuffle_s", "worker_mb", "read_us"),
)


def _path_row(number: int) -> dict[str, Any]:
    return {"path": f"videos/{number % 1000:03d}/clip_{number:08d}.mp4"}


def _llava_row(number: int) -> dict[str, Any]:
    """As in LLaVA-Video-178K: several rows of a video have its id."""
    turns = [
        {"from": "human", "value": f"<image>\nWhat happens in scene {number} of this video, told in some detail?"},
        {"from": "gpt", "value": "A man in a red coat walks along the road, and a dog runs after him. " * 3},
    ]
    video = number // 6
    return {"id": f"v{video}", "data_source": "0_30_s", "video": f"youtube/{video:08d}.mp4", "conversations": turns}


def _write_lines(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def _write_list(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for number, row in enumerate(rows):
            file.write(("," if number else "[") + "\n" + json.dumps(row))
        file.write("]\n")


def _write_parquet(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    first = pa.Table.from_pylist(list(islice(rows, _ROWS_OF_A_GROUP)))
    with ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        while group := list(islice(rows, _ROWS_OF_A_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, first.schema))


_KINDS: dict[str, tuple[str, Callable[[int], dict[str, Any]], Callable[[Path, Iterator[dict[str, Any]]], None]]] = {
    "paths in JSONL": (".jsonl", _path_row, _write_lines),
    "conversations in JSONL": (".jsonl", _llava_row, _write_lines),
    "conversations in JSON": (".json", _llava_row, _write_list),
    "conversations in Parquet": (".parquet", _llava_row, _write_parquet),
}


def measure(kind: str, count: int, folder: Path, workers: int) -> dict[str, Any]:
    """The figures of a list. To be called in a process of its own, whose memory is counted."""
    suffix, row, write = _KINDS[kind]
    path = folder / f"list{suffix}"
    write(path, map(row, range(count)))
    before_mb = _own_mb()
    with mock.patch.object(kept_tables, "LONG_LIST", 0), mock.patch.dict(os.environ, XDG_CACHE_HOME=str(folder)):
        with _peak_mb() as peak_mb:
            table, first_s = _timed(lambda: read_sources(str(path)))
        del table
        table, again_s = _timed(lambda: read_sources(str(path)))
    own_mb = _own_mb() - before_mb
    check = RowChecks((KeyFrames(),), turns_of if row is _llava_row else None, (None,))
    refused, checked_s = _timed(lambda: refused_rows(table, check, first=False))
    assert not refused
    _, checked_again_s = _timed(lambda: refused_rows(table, check, first=False))
    batches = TrainBatchSampler(len(table), [BatchShape(8, 8)], seed=0)
    _, shuffle_s = _timed(lambda: next(batches.batches(0)))
    context = multiprocessing.get_context("fork")
    seen = _in_workers(context, table, workers)
    return {
        "kind": kind,
        "rows": count,
        "list_mb": round(path.stat().st_size / 1e6, 1),
        "kept_mb": round(sum(file.stat().st_size for file in folder.rglob("*.bin")) / 1e6, 1),
        "first_s": round(first_s, 2),
        "rows_a_second": round(count / first_s),
        "peak_mb": round(max(peak_mb) - before_mb, 1),
        "again_s": round(again_s, 3),
        "checked_s": round(checked_s, 2),
        "checked_again_s": round(checked_again_s, 3),
        "own_mb": round(own_mb, 1),
        "shuffle_s": round(shuffle_s, 3),
        "worker_mb": max(grown for grown, _ in seen),
        "read_us": round(1e6 * min(seconds for _, seconds in seen) / _RANDOM_READS, 1),
    }


def _in_workers(context: ForkContext, table: RowTable, workers: int) -> list[tuple[float, float]]:
    """Of each of some processes that read rows at random side by side: MB that it grew by, and seconds."""

    def read(seed: int) -> None:
        rng, before = random.Random(seed), _own_mb()
        _, seconds = _timed(lambda: [table[rng.randrange(len(table))] for _ in range(_RANDOM_READS)] and None)
        out.put((round(_own_mb() - before, 1), seconds))

    out: Any = context.SimpleQueue()
    processes = [context.Process(target=read, args=(seed,)) for seed in range(workers)]
    for process in processes:
        process.start()
    seen = [out.get() for _ in processes]
    for process in processes:
        process.join()
    return seen


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    value = call()
    return value, time.perf_counter() - began


def _own_mb(process: int | str = "self") -> float:
    """Anonymous memory of a process; of what it shares with others, its share."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:")) * 1024 / 1e6


@contextmanager
def _peak_mb() -> Iterator[list[float]]:
    """Grows by this process's memory and that of those it has started, several times a second."""
    samples, ended, this = [_own_mb()], threading.Event(), psutil.Process()

    def watch() -> None:
        while not ended.wait(0.2):
            with suppress(OSError, psutil.Error):  # one of them has just ended
                samples.append(_own_mb() + sum(_own_mb(each.pid) for each in this.children(recursive=True)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield samples
    finally:
        ended.set()
        watcher.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[60_000, 1_000_000, 10_000_000])
    parser.add_argument("--kinds", nargs="+", choices=list(_KINDS), default=list(_KINDS))
    parser.add_argument("--workers", type=int, default=4, help="processes that read rows at random")
    parser.add_argument("--folder", help="where the lists are written; by default a temporary folder")
    parser.add_argument("--output", help="file of the record")
    options = parser.parse_args()
    rows = []
    for kind in options.kinds:
        for count in options.rows:
            with (
                tempfile.TemporaryDirectory(dir=options.folder) as folder,
                ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process,
            ):
                rows.append(process.submit(measure, kind, count, Path(folder), options.workers).result())
            print(rows[-1], flush=True)
    lines = [[str(row[name]) for name in ("kind", "rows", *_COLUMNS)] for row in rows]
    print(aligned(["list", "rows", *_COLUMNS], lines))
    if options.output:
        print(write_record(options.output, "lists", environment(), {"workers": options.workers}, {"rows": rows}))


if __name__ == "__main__":
    main()
