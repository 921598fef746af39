"""Works through the cells: one after another, each under a lock, until all are done or the time is over."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from liteframe import runtime
from liteframe.bench.arms import ATTENTION
from liteframe.bench.environment import environment
from liteframe.bench.records import read_stage_records
from liteframe.bench.tables import aligned
from liteframe.paper.answers import answer
from liteframe.paper.arms import arms_for, trained_arms
from liteframe.paper.cells import CELLS, LONGEST, PaperCell, plan
from liteframe.paper.ground import Busy, RunVerb, Workplace, require_ground, stages_of
from liteframe.paper.records import read_cell, write_cell
from liteframe.paper.training import drop_stores, student_of, train
from liteframe.pipeline.isolation import isolated

Task = tuple[PaperCell, int]


@dataclass
class Worker:
    """Makes the records of cells.

    Attributes:
        runs: folder of all runs.
        records: folder of the records.
        run_verb: runs one command line in this process.
        cells: all that there are, chosen or not.
        longest: frames of a video.
    """

    runs: Path
    records: Path
    run_verb: RunVerb
    cells: Sequence[PaperCell] = CELLS
    longest: int = LONGEST
    failed: dict[str, str] = field(default_factory=dict)

    def work(self, tasks: Sequence[Task], hours: float | None = None) -> bool:
        """Makes what is open of the tasks; True if all of them are done then.

        A cell that fails is named, and the others are made all the same. One that another process works on is left to
        that process.

        Args:
            tasks: in the order of work.
            hours: no cell is begun that would go past them, judged by the cells that are done.
        """
        end = None if hours is None else time.monotonic() + 3600 * hours
        busy: dict[Task, str] = {}
        for cell, seed in tasks:
            if self.is_done(cell, seed):
                continue
            minutes = self.minutes(cell, seed)
            if end is not None and time.monotonic() + 60 * (minutes or 0.0) > end:
                _say(f"{cell.name}, seed {seed}: would go past {hours:g} hours, so this ends here")
                break
            try:
                self._one(cell, seed)
            except Busy as error:
                busy[cell, seed] = str(error)
            except Exception as error:  # a night's work does not end at one method's mistake
                traceback.print_exc()
                self.failed[f"{cell.name}, seed {seed}"] = f"{type(error).__name__}: {error}"
        for name, reason in self.failed.items():
            _say(f"FAILED {name}: {reason}")
        for reason in busy.values():
            _say(f"left to another process: {reason}")
        return all(self.is_done(cell, seed) for cell, seed in tasks)

    def is_done(self, cell: PaperCell, seed: int) -> bool:
        """Whether there is a record of the cell as it is now."""
        return read_cell(self.records, cell, seed) is not None

    def _one(self, cell: PaperCell, seed: int) -> None:
        place = Workplace(self.runs, seed)
        with place.alone(cell.name):
            if self.is_done(cell, seed):
                return
            _say(f"{cell.name}, seed {seed}: {cell.about or cell.kind}")
            require_ground(place, self.run_verb)
            record = self._measure(cell, place)
            written = write_cell(self.records, cell, seed, self._environment(), **record)
            _say(f"{cell.name}, seed {seed}: done in {record['seconds'] / 60:.1f} minutes, {written}")
            drop_stores(place, self._stores_needed(seed))

    def _environment(self) -> dict[str, Any]:
        return environment("cpu", "bfloat16", str(ATTENTION), malloc={"tuned": runtime.malloc_is_tuned})

    def _measure(self, cell: PaperCell, place: Workplace) -> dict[str, Any]:
        stages, spent = stages_of(place.ground), 0.0
        if cell.training is not None:
            stages += train(cell, place, self.run_verb)
            spent = sum(record["seconds"] for record in read_stage_records(place.of(cell.name)))
        started = time.monotonic()
        with isolated(place.seed):
            if cell.training is None:
                arms = arms_for(place.ground, cell.arms)
            else:
                arms = trained_arms(place.ground, student_of(cell, place), cell.arms)
            answers = answer(place.ground, arms, f"{cell.name}, seed {place.seed}", self.longest)
        return {"seconds": spent + time.monotonic() - started, "stages": stages, "answers": answers}

    def _stores_needed(self, seed: int) -> set[str]:
        open_cells = [cell for cell in self.cells if seed in cell.seeds and not self.is_done(cell, seed)]
        bases = {cell.training.base for cell in open_cells if cell.training}
        learning = [*open_cells, *(cell for cell in self.cells if cell.name in bases)]
        return {cell.training.store for cell in learning if cell.training and cell.training.store}

    def minutes(self, cell: PaperCell, seed: int) -> float | None:
        """What a cell took, or will take by its other seeds, its group or its kind; None before any is done."""
        taken = [
            (other, own, record["seconds"] / 60)
            for other, own in plan(cells=self.cells)
            if (record := read_cell(self.records, other, own)) is not None
        ]
        for alike in (
            lambda other, own: (other.name, own) == (cell.name, seed),
            lambda other, own: other.name == cell.name,
            lambda other, own: (other.group, other.kind) == (cell.group, cell.kind),
            lambda other, own: other.kind == cell.kind,
        ):
            if found := [minutes for other, own, minutes in taken if alike(other, own)]:
                return fmean(found)
        return None

    def listing(self, tasks: Sequence[Task]) -> str:
        """A line a task: done or open, and its minutes."""
        lines, total, unknown = [], 0.0, 0
        for cell, seed in tasks:
            done, minutes = self.is_done(cell, seed), self.minutes(cell, seed)
            total += 0.0 if done or minutes is None else minutes
            unknown += not done and minutes is None
            state = "done" if done else "open"
            taken = "?" if minutes is None else f"{minutes:.1f}" if done else f"about {minutes:.1f}"
            lines.append([cell.name, cell.group, str(seed), state, taken, cell.about])
        table = aligned(["cell", "group", "seed", "", "minutes", "what"], lines)
        guess = f" and {unknown} of unknown length" if unknown else ""
        return f"{table}\n\nabout {total:.0f} minutes of open cells{guess}"


def _say(text: str) -> None:
    print(text, flush=True)
