"""Hands out inputs to workers, counts outcomes, keeps the bad inputs, and makes the record."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from transformers.utils.logging import disable_progress_bar

from fuzz.ground import Ground
from fuzz.outcome import BAD, GOOD, OUTCOMES, Input, Kind, Verdict, judge
from fuzz.workers import Clock, Gone, Killable, virtual_bytes

Task = tuple[str, int]
"""Name of a kind and number of an input of it."""
_POLL_S = 0.05
_ADDRESS_BYTES = 6_000_000_000
_INPUTS_A_WORKER = 3_000
_KEPT_A_FAULT = 3
_TEXT = 300


@dataclass
class Setting:
    """What a run does.

    Attributes:
        seed: of all inputs.
        kinds: by name.
        work: folder to work in.
        keep: folder for bad inputs.
        patience: factor on deadlines.
        growth_bytes: memory that a worker may take for one input.
    """

    seed: int
    kinds: dict[str, Callable[[Path], Kind]]
    work: Path
    keep: Path | None = None
    patience: float = 1.0
    growth_bytes: int = 1_500_000_000


@dataclass
class Tally:
    """Outcomes by kind, and faults: bad outcomes that look alike, by (kind, outcome, where, first words)."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    faults: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)

    def add(self, task: Task, what: str, verdict: Verdict) -> int:
        """Counts an outcome; how many times its fault has been seen, 0 where it is good."""
        self.counts.setdefault(task[0], Counter())[verdict.outcome] += 1
        if verdict.outcome in GOOD:
            return 0
        alike = re.split(r"[\d:'\[]", verdict.detail, maxsplit=1)[0][:40]
        seed = what.partition(":")[0] if verdict.outcome == "silent" else ""
        sign = (task[0], verdict.outcome, verdict.where, alike, seed)
        fault = self.faults.setdefault(
            sign, {"kind": task[0], **asdict(verdict), "what": what, "times": 0, "inputs": []}
        )
        fault["times"] += 1
        if len(fault["inputs"]) < 20:
            fault["inputs"].append(task[1])
        return int(fault["times"])

    def table(self) -> str:
        """A line for each kind, a column for each outcome."""
        rows = [["kind", "inputs", *OUTCOMES]]
        total: Counter[str] = Counter()
        for name, counts in self.counts.items():
            rows.append([name, str(counts.total()), *(str(counts[outcome]) for outcome in OUTCOMES)])
            total += counts
        rows.append(["all", str(total.total()), *(str(total[outcome]) for outcome in OUTCOMES)])
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)

    def bad(self) -> list[dict[str, Any]]:
        """The faults, the worst first."""
        order = list(BAD)
        return sorted(self.faults.values(), key=lambda fault: (order.index(fault["outcome"]), -fault["times"]))


def feeder(setting: Setting, number: int) -> Callable[[Task], tuple[str, Verdict]]:
    """Called in a worker: what makes and feeds one input after another, and gives what it was and what came of it."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    disable_progress_bar()
    log = os.open(setting.work / f"worker{number}.log", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.fsync = lambda handle: None  # type: ignore[assignment]  # power cuts are not what is tried here
    seeds = setting.work / "seeds"
    ground = Ground(setting.work / f"worker{number}", seeds)
    kinds = {name: make(seeds / name) for name, make in setting.kinds.items()}
    for kind in kinds.values():
        kind.names = ground.hostile_names()
    limit = virtual_bytes() + _ADDRESS_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def feed(task: Task) -> tuple[str, Verdict]:
        os.ftruncate(log, 0)
        ground.clear()
        item = make_input(kinds[task[0]], setting.seed, task, ground.input)
        what = _printable(item.what)
        (ground.base / "what").write_text(what)
        with ground.watch() as heard:
            verdict = judge(kinds[task[0]], item)
            sys.stderr.flush()
        verdict = ground.settle(verdict, heard, item)
        verdict.detail = _printable(verdict.detail.replace(str(ground.base), "").replace(str(setting.work), ""))
        return what, verdict

    return feed


def _printable(text: str) -> str:
    return text[:_TEXT].encode("utf-8", "backslashreplace").decode()


def make_input(kind: Kind, seed: int, task: Task, folder: Path) -> Input:
    """Input k of a seed is always the same, whatever was made before, but for the folder and port that it may name."""
    return kind.make(random.Random(f"{seed}/{task[0]}/{task[1]}"), folder)


def prepare(setting: Setting) -> None:
    """Writes the seeds of every kind, in a process of its own so that nothing of it stays in this one."""

    def write() -> Callable[[Any], Any]:
        import torch

        torch.set_num_threads(1)
        for name, make in setting.kinds.items():
            (setting.work / "seeds" / name).mkdir(parents=True, exist_ok=True)
            make(setting.work / "seeds" / name).prepare()
        return lambda request: request

    child = Killable(write)
    child.ask("done", 600)
    child.kill()


def tasks_of(setting: Setting, inputs: int) -> Iterator[Task]:
    """So many inputs, kinds taking turns by their shares."""
    shares = {name: make(setting.work / "seeds" / name).share for name, make in setting.kinds.items()}
    given = dict.fromkeys(shares, 0)
    for _ in range(inputs):
        name = min(shares, key=lambda name: (given[name] + 1) / shares[name])
        yield name, given[name]
        given[name] += 1


class _Seat:
    """A worker with the task that it is at."""

    def __init__(self, setting: Setting, number: int) -> None:
        self.setting, self.number = setting, number
        self.task: Task | None = None
        self.again = False
        self.start()

    def start(self) -> None:
        self.worker, self.served = Killable(feeder, self.setting, self.number), 0

    def give(self, task: Task, again: bool = False) -> None:
        if self.served >= _INPUTS_A_WORKER:
            self.worker.kill()
            self.start()
        self.task, self.again, self.served = task, again, self.served + 1
        deadline_s = self.setting.kinds[task[0]].deadline_s * self.setting.patience * (2 if again else 1)  # type: ignore[attr-defined]
        self.clock = Clock(self.worker.process.pid or 0, deadline_s, self.setting.growth_bytes)
        self.worker.send(task)

    def answer(self) -> tuple[str, Verdict]:
        """What the worker says, or what its end means; raises Gone where the task deserves a second try."""
        try:
            return self.worker.receive()
        except Gone as gone:
            return self.ended(str(gone))

    def ended(self, why: str) -> tuple[str, Verdict]:
        self.worker.kill()
        base = self.setting.work / f"worker{self.number}"
        what = (base / "what").read_text() if (base / "what").is_file() else ""
        self.keep_from = base / "input"
        outcome, _, detail = why.partition(": ")
        log = (self.setting.work / f"worker{self.number}.log").read_text(errors="replace")[-300:]
        return what, Verdict(outcome, f"{detail}; {log}")


def fuzz(setting: Setting, tasks: Iterator[Task], minutes: float, workers: int) -> Tally:
    """Feeds all tasks, as far as the minutes go."""
    tally, end = Tally(), time.monotonic() + 60 * minutes
    seats = [_Seat(setting, number) for number in range(workers)]
    try:
        for seat in seats:
            _next(seat, tasks, end)
        while busy := [seat for seat in seats if seat.task is not None]:
            ready = wait([seat.worker.connection for seat in busy], _POLL_S)
            for seat in busy:
                if seat.worker.connection in ready:
                    _settle(seat, tally, *seat.answer())
                elif why := seat.clock.exceeded():
                    what, verdict = seat.ended(why)
                    if verdict.outcome == "hang" and not seat.again:  # a busy machine may have been slow
                        seat.start()
                        seat.give(seat.task, again=True)  # type: ignore[arg-type]
                        continue
                    _settle(seat, tally, what, verdict)
                else:
                    continue
                if not seat.worker.process.is_alive():
                    seat.start()
                _next(seat, tasks, end)
    finally:
        for seat in seats:
            seat.worker.kill()
    return tally


def _next(seat: _Seat, tasks: Iterator[Task], end: float) -> None:
    seat.task = None
    task = next(tasks, None) if time.monotonic() < end else None
    if task is not None:
        seat.give(task)


def _settle(seat: _Seat, tally: Tally, what: str, verdict: Verdict) -> None:
    assert seat.task is not None
    setting = seat.setting
    times = tally.add(seat.task, what, verdict)
    if times and setting.keep is not None and times <= _KEPT_A_FAULT:
        place = setting.keep / f"{seat.task[0]}-{seat.task[1]}-{verdict.outcome}"
        shutil.rmtree(place, ignore_errors=True)
        source = setting.work / f"worker{seat.number}" / "input"
        shutil.copytree(source, place / "input", symlinks=True, ignore_dangling_symlinks=True)
        (place / "verdict.json").write_text(json.dumps({"what": what, **asdict(verdict)}, indent=1))
        print(f"{verdict.outcome}: {seat.task[0]}:{seat.task[1]} ({what}): {verdict.where} {verdict.detail}"[:400])
