"""Times liteframe's reader beside bare decord, PyAV and torchcodec on the same frames, in turns, and prints a table.

python benchmarks/decode.py --output benchmarks/records/decode.json
python benchmarks/decode.py --rounds 2 --scale 0.02            # a trial
python benchmarks/decode.py --clips made --real my/videos      # keeps the clips that it makes; adds real ones

One thread runs on one core, two on two. A ratio above 1 says that liteframe is faster; it is the median over the
rounds, in each of which all read once.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from decoding.clips import Clip
from decoding.readers import OURS, Reader, readers
from liteframe.bench.environment import environment
from liteframe.bench.records import write_record
from liteframe.data.decoding.decode import probe
from liteframe.data.sampling.index_rules import uniform_midpoints

_WINDOWS = 8


@dataclass(frozen=True)
class Case:
    """Frames to read.

    Attributes:
        name: of the case.
        path: of the clip.
        reads: the indices of each time that the file is opened.
        group: frames from one key frame to the next; as many as there are frames where it is not known.
    """

    name: str
    path: str
    reads: list[list[int]]
    group: int


def cases(folder: Path, scale: float) -> Iterator[Case]:
    """The made clips; `scale` shortens the longest ones."""
    long = Clip("long_1080p", max(600, int(9000 * scale)), 1080, 1920)
    yield _sparse(f"64 of {long.frames:,} frames, 1080p, groups of {long.group}", long, folder, 64)
    middle = Clip("long_480p", max(600, int(9000 * scale)), 480, 854)
    yield _sparse(f"64 of {middle.frames:,} frames, 480p, groups of {middle.group}", middle, folder, 64)
    grouped = Clip("grouped_720p", 900, 720, 1280, group=48)
    yield _sparse(f"64 of {grouped.frames} frames, 720p, groups of {grouped.group}", grouped, folder, 64)
    starts = uniform_midpoints(grouped.frames - 4, _WINDOWS)
    windows = [list(range(start, start + 4)) for start in starts]
    yield Case(f"{_WINDOWS} times 4 frames in a row, 720p", grouped.make(folder), windows, grouped.group)
    full = Clip("full_range", 600, 480, 640, group=60, pixel_format="yuvj420p")
    yield _sparse(f"32 of {full.frames} frames, yuvj420p", full, folder, 32)
    ten_seconds = Clip("ten_seconds", 300, 256, 340)
    yield _sparse(f"64 of {ten_seconds.frames} frames, 256p, one group", ten_seconds, folder, 64, times=_WINDOWS)
    for short in (Clip("short_480p", 64, 480, 640, group=30), Clip("short", 64, 240, 320, group=30)):
        reads = [list(range(short.frames))] * _WINDOWS
        yield Case(f"all {short.frames} frames, {short.height}p", short.make(folder), reads, short.group)


def _sparse(name: str, clip: Clip, folder: Path, count: int, times: int = 1) -> Case:
    return Case(name, clip.make(folder), [list(uniform_midpoints(clip.frames, count))] * times, clip.group)


def real_cases(folder: Path) -> Iterator[Case]:
    """32 frames of each video of a folder."""
    for path in sorted(path for path in folder.iterdir() if path.suffix in {".mp4", ".mkv", ".mov", ".webm"}):
        try:
            frames = probe(str(path)).frames
        except Exception as error:
            print(f"left out: {error}")
            continue
        yield Case(path.name, str(path), [list(uniform_midpoints(frames, min(32, frames)))], frames)


def measure(case: Case, compared: dict[tuple[str, int], Reader], rounds: int) -> dict[str, Any]:
    """The case's part of the record: raw seconds of each reader, and how far its frames are from liteframe's."""
    expected = _read(compared[OURS, 1], case)
    levels: dict[tuple[str, int], int | str] = {}
    for key, reader in compared.items():
        levels[key] = _levels(reader, case, expected)
    times: dict[tuple[str, int], list[tuple[float, float]]] = {
        key: [] for key, level in levels.items() if not isinstance(level, str)
    }
    for turn in range(rounds):
        order = list(times)[turn % len(times) :] + list(times)[: turn % len(times)]
        for key in order:
            with _cores(key[1]):
                wall, cpu = time.perf_counter(), time.process_time()
                _read(compared[key], case)
                times[key].append((time.perf_counter() - wall, time.process_time() - cpu))
    rows = [_row(key, levels[key], times.get(key, []), times) for key in compared]
    return {"case": case.name, "frames": sum(map(len, case.reads)), "bytes": os.path.getsize(case.path), "rows": rows}


def _row(
    key: tuple[str, int], level: int | str, own: list[tuple[float, float]], times: dict[Any, list[tuple[float, float]]]
) -> dict[str, Any]:
    name, threads = key
    row: dict[str, Any] = {"reader": name, "threads": threads, "levels_off": level}
    if own:
        row["wall_s"], row["cpu_s"] = ([round(seconds[kind], 4) for seconds in own] for kind in (0, 1))
        ours = times[OURS, threads]
        row["ratio"] = round(median(theirs[0] / mine[0] for theirs, mine in zip(own, ours, strict=True)), 3)
        row["cpu_ratio"] = round(median(theirs[1] / mine[1] for theirs, mine in zip(own, ours, strict=True)), 3)
    return row


def _read(reader: Reader, case: Case) -> list[np.ndarray]:
    return [reader(case.path, indices, case.group) for indices in case.reads]


def _levels(reader: Reader, case: Case, expected: Sequence[np.ndarray]) -> int | str:
    """The largest difference to liteframe's frames, or why there are none; it also warms up."""
    try:
        frames = _read(reader, case)
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:120]
    if any(a.shape != b.shape for a, b in zip(frames, expected, strict=True)):
        return "other sizes"
    return max(int(np.abs(a.astype(np.int16) - b).max()) for a, b in zip(frames, expected, strict=True))


@contextmanager
def _cores(count: int) -> Iterator[None]:
    """Keeps this process, and the threads that it starts, to so many cores, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def table(record: dict[str, Any]) -> str:
    """The lines that are printed for a case."""
    lines = [f"{record['case']} ({record['bytes'] / 1e6:.1f} MB)"]
    for row in record["rows"]:
        name = f"  {row['reader']:<11}{row['threads']} thread{'s' if row['threads'] > 1 else ' '}"
        if "wall_s" not in row:
            lines.append(f"{name}  {row['levels_off']}")
            continue
        wall, cpu = median(row["wall_s"]), median(row["cpu_s"])
        lines.append(
            f"{name} {wall:9.3f} s {cpu:9.3f} CPU-s   liteframe {row['ratio']:5.2f} times as fast,"
            f" {row['cpu_ratio']:5.2f} by CPU; {row['levels_off']} levels off"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="length of the longest clips, of 5 minutes")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--clips", type=Path, help="folder to keep the made clips in")
    parser.add_argument("--real", type=Path, help="folder of videos to read, too")
    parser.add_argument("--only", default="", help="cases whose name holds this text")
    parser.add_argument("--output", type=Path, help="write the record here as JSON")
    options = parser.parse_args()
    compared, records = readers(options.threads), []
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.clips or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        given = [*cases(folder, options.scale), *(real_cases(options.real) if options.real else ())]
        for case in given:
            if options.only in case.name:
                records.append(measure(case, compared, options.rounds))
                print(table(records[-1]), flush=True)
    if options.output is not None:
        settings = {"rounds": options.rounds, "scale": options.scale, "threads": options.threads}
        write_record(options.output, "decode", environment(), settings, {"cases": records})


if __name__ == "__main__":
    main()
