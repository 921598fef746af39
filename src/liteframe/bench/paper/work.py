"""Works through the cells: one after another, each under a lock, until all are done or the time is over."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from liteframe.bench.environment import environment
from liteframe.bench.paper.answers import answer
from liteframe.bench.paper.base_run import Busy, RunVerb, Workplace, require_base_run, stages_of
from liteframe.bench.paper.cells import CELLS, LONGEST, PaperCell, plan
from liteframe.bench.paper.methods import methods_for, trained_methods
from liteframe.bench.paper.records import CellRecord, Measured, add_methods, new_cell, read_cell, write_cell
from liteframe.bench.paper.training import base_vlm_of, drop_stores, student_of, train
from liteframe.bench.run_methods import ATTENTION
from liteframe.errors import DataError
from liteframe.pipeline.isolation import isolated
from liteframe.system.fast_dtype import fast_dtype
from liteframe.system.stage_records import read_stage_records
from liteframe.system.tables import aligned

Task = tuple[PaperCell, int]
MethodCounts = Sequence[tuple[str, Sequence[int]]]
"""Methods and the frame counts that they are asked at."""
GUESSED_MINUTES = {"answers": 5.0, "train": 8.0}
"""Of a cell of each kind before any is done, on two CPU cores."""


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
            try:
                if self.is_done(cell, seed):
                    continue
                if end is not None and time.monotonic() + 60 * self.minutes(cell, seed) > end:
                    _say(f"{cell.name}, seed {seed}: would go past {hours:g} hours, so this ends here")
                    break
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
        return all(self._readable(cell, seed) is not None for cell, seed in tasks)

    def is_done(self, cell: PaperCell, seed: int) -> bool:
        """Whether there is a record of the cell as it is now, with all of its methods as they work now."""
        return _complete(read_cell(self.records, cell, seed), cell)

    def _readable(self, cell: PaperCell, seed: int) -> CellRecord | None:
        """The whole record of a cell; None where it cannot be read either, which is for that cell's own turn to say."""
        try:
            record = read_cell(self.records, cell, seed)
        except DataError:
            return None
        return record if _complete(record, cell) else None

    def _one(self, cell: PaperCell, seed: int) -> None:
        place = Workplace(self.runs, seed)
        with place.alone(cell.name):
            if self.is_done(cell, seed):
                return
            _say(f"{cell.name}, seed {seed}: {cell.about or cell.kind}")
            require_base_run(place, self.run_verb)
            before = read_cell(self.records, cell, seed)
            measured = self._measure(cell, place, cell.methods if before is None else _to_ask(before, cell))
            record = new_cell(cell, seed, measured) if before is None else add_methods(before, cell, measured)
            written = write_cell(self.records, cell, record)
            _say(f"{cell.name}, seed {seed}: done in {measured.seconds / 60:.1f} minutes, {written}")
            drop_stores(place, self._stores_needed(seed))

    def _measure(self, cell: PaperCell, place: Workplace, wanted: MethodCounts) -> Measured:
        stages, spent = stages_of(place.base_run), 0.0
        if cell.training is not None:
            stages += train(cell, place, self.run_verb)
            spent = sum(record["seconds"] for record in read_stage_records(place.of(cell.name)))
        started = time.monotonic()
        with isolated(place.seed):
            if cell.training is None or cell.training.base_vlm is not None:
                methods = methods_for(place.base_run, wanted, base_vlm_of(cell, place))
            else:
                methods = trained_methods(place.base_run, student_of(cell, place), wanted)
            dtype = fast_dtype("cpu")
            answers = answer(place.base_run, methods, f"{cell.name}, seed {place.seed}", self.longest, dtype)
        seconds = spent + time.monotonic() - started
        return Measured(answers, seconds, stages, environment("cpu", dtype, ATTENTION))

    def _stores_needed(self, seed: int) -> set[str]:
        open_cells = [cell for cell in self.cells if seed in cell.seeds and self._readable(cell, seed) is None]
        bases = {cell.training.base for cell in open_cells if cell.training}
        learning = [*open_cells, *(cell for cell in self.cells if cell.name in bases)]
        return {cell.training.store for cell in learning if cell.training and cell.training.store}

    def minutes(self, cell: PaperCell, seed: int) -> float:
        """What a cell took; what it may take, by those of its kind that are done, where it is open."""
        return _minutes(cell, seed, self._taken())

    def listing(self, tasks: Sequence[Task]) -> str:
        """A line a task: done or open, and its minutes."""
        lines, total, taken = [], 0.0, self._taken()
        for cell, seed in tasks:
            done, minutes = (cell, seed) in taken, _minutes(cell, seed, taken)
            total += 0.0 if done else minutes
            said = f"{minutes:.1f}" if done else f"about {minutes:.1f}"
            lines.append([cell.name, cell.group, str(seed), "done" if done else "open", said])
        table = aligned(["cell", "group", "seed", "", "minutes"], lines)
        return f"{table}\n\nabout {total:.0f} minutes of open cells"

    def _taken(self) -> dict[Task, float]:
        """The minutes that each cell took that is done."""
        records = {task: self._readable(*task) for task in plan(cells=self.cells)}
        return {task: record.seconds / 60 for task, record in records.items() if record}


def _minutes(cell: PaperCell, seed: int, taken: Mapping[Task, float]) -> float:
    alike = [minutes for (other, _), minutes in taken.items() if other.kind == cell.kind]
    return taken.get((cell, seed), fmean(alike) if alike else GUESSED_MINUTES[cell.kind])


def _complete(record: CellRecord | None, cell: PaperCell) -> bool:
    return record is not None and not record.open_methods(cell)


def _to_ask(record: CellRecord, cell: PaperCell) -> MethodCounts:
    """The methods that a record lacks, and one point that it has, by which the models are seen to be the same."""
    kept = [(row.frames, row.arm) for row in record.rows if row.method == row.arm]
    known = [(method, (count,)) for count, method in sorted(kept)[:1]]
    return [*known, *record.open_methods(cell)]


def _say(text: str) -> None:
    print(text, flush=True)
