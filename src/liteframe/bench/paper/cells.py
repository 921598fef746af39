"""What `benchmarks/paper.py` measures: every cell of the paper's tables and figures, in the order of work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from liteframe.bench.methods import tomllib_load
from liteframe.errors import ConfigError

CTD, LMA = "liteframe-ctd", "liteframe-lma"
"""The student of a run, with the LLM frozen and adapted."""
AGAIN = {CTD: "ctd-again", LMA: "lma-again"}
"""Student of the run -> the cell that trained it again, from another start."""
CONTROL = "control:"
"""Before the names of methods on the base VLM that learnt to read average-pooled tokens."""
ALL_SEEDS = (4, 5, 6)
TWO_SEEDS = (4, 5)
LONGEST = 128
"""Frames of a video of the tiny world. Every cell decodes them all, so all see the same at a frame count."""
FRAMES = (8, 16, 32, 64)
DENSE_TOKENS = 16
"""Tokens a frame that the tiny LLM sees without compression."""
RATIOS = {"teacher": 1, "teacher+wap-4x": 4, "teacher+wap-8x": 8, "teacher+wap": 16}
"""Figure 3: WAP over blocks (1, 2, 2), (2, 2, 2) and (4, 2, 2), and no compression."""
BUDGETS = (64, 128, 256, 512)
"""Figure 3: visual tokens of a video."""
MIXERS = ("full", "attention", "joint", "none")
"""What may mix a clip's frames in place of the paper's depth-wise convolution."""
COMPARED = ("teacher", "students", "pooling")
"""Cells of the paper that are measured on the run of `FURTHER_CELLS` too."""
_TOLD = tomllib_load(__file__)
STORES: dict[str, list[str]] = _TOLD["stores"]
MEANINGS: dict[str, str] = _TOLD["meanings"]


@dataclass(frozen=True)
class Training:
    """How a cell's student is made; `cells.toml` says what the fields mean.

    None stands for the run's own store and student, for a frozen LLM, and for the run's base VLM.
    """

    store: str | None = None
    ctd: tuple[str, ...] | None = None
    lma: tuple[str, ...] | None = None
    base: str | None = None
    timm: bool = False
    base_vlm: tuple[str, ...] | None = None

    def meaning(self) -> dict[str, str]:
        """What of `MEANINGS` its settings are."""
        given = [*STORES.get(self.store or "", ()), *(self.ctd or ()), *(self.lma or ()), *(self.base_vlm or ())]
        return {
            name: meaning for name, meaning in MEANINGS.items() if name in {item.partition("=")[0] for item in given}
        }


@dataclass(frozen=True)
class PaperCell:
    """One record: methods of a finished run, or a student with a setting changed, on a seed's test questions.

    `cells.toml` says what the fields mean; ``methods`` are names and frame counts, ``training`` is None where the run
    has all that is needed.
    """

    name: str
    group: str
    methods: tuple[tuple[str, tuple[int, ...]], ...]
    seeds: tuple[int, ...]
    phase: int = 0
    training: Training | None = None
    about: str = ""
    retired: bool = False

    @property
    def kind(self) -> str:
        """``answers`` of models that are there, or ``train``."""
        return "answers" if self.training is None else "train"

    def describe(self) -> dict[str, Any]:
        """What its result follows from; a record with another description is made anew."""
        settings: dict[str, Any] = {"arms": {method: list(frames) for method, frames in self.methods}}
        made = self.training
        if made is not None:
            settings["training"] = {
                "store": list(STORES[made.store]) if made.store else None,
                "ctd": None if made.ctd is None else list(made.ctd),
                "lma": None if made.lma is None else list(made.lma),
                "base": made.base,
                "timm": made.timm,
                **({} if made.base_vlm is None else {"host": list(made.base_vlm)}),
            }
            if not self.retired and (meaning := made.meaning()):
                settings["training"]["meaning"] = meaning
        return settings


def frames_at(budget: int, ratio: int) -> int | None:
    """Frames that fill a budget of visual tokens at a compression ratio; None where no video is that long."""
    frames, rest = divmod(budget * ratio, DENSE_TOKENS)
    return frames if not rest and frames <= LONGEST else None


def _cell(
    name: str,
    group: str,
    about: str,
    methods: Sequence[str] | Mapping[str, Sequence[int]] = (),
    phase: int = 2,
    retired: bool = False,
    seeds: Sequence[int] = TWO_SEEDS,
    **training: Any,
) -> PaperCell:
    """A line of `cells.toml`."""
    counts = methods if isinstance(methods, Mapping) else dict.fromkeys(methods or [name], FRAMES)
    asked = tuple((method, tuple(frames)) for method, frames in counts.items())
    if not training:
        return PaperCell(name, group, asked, ALL_SEEDS, about=about)
    made: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in training.items()}
    return PaperCell(name, group, asked, tuple(seeds), phase, Training(**made), about, retired)


CELLS = tuple(_cell(**line) for line in _TOLD["cells"])
FURTHER_CELLS = (
    *(cell for cell in CELLS if cell.name in COMPARED),
    *(_cell(**line, seeds=ALL_SEEDS) for line in _TOLD["beyond"]),
)
"""What goes past the paper, with what it is compared to; on another run of each world, with records of its own."""


def find_cell(name: str, cells: Sequence[PaperCell] = (*CELLS, *FURTHER_CELLS)) -> PaperCell:
    """The cell of that name. Raises ConfigError where there is none."""
    for cell in cells:
        if cell.name == name:
            return cell
    raise ConfigError(f"no cell {name!r}; there are {', '.join(cell.name for cell in cells)}")


def plan(
    only: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    cells: Sequence[PaperCell] = CELLS,
    retired: bool = False,
) -> list[tuple[PaperCell, int]]:
    """Cells and seeds in the order of work: by phase, then seed, then place in the table.

    Args:
        only: names of groups or cells; all by default.
        seeds: of those that the cells have; all by default.
        cells: that there are.
        retired: with those that can only be read.

    Raises:
        ConfigError: a name that is neither group nor cell, or a seed that no chosen cell has.
    """
    cells = [cell for cell in cells if retired or not cell.retired]
    known = {cell.name for cell in cells} | {cell.group for cell in cells}
    if unknown := [name for name in only or () if name not in known]:
        groups = ", ".join(dict.fromkeys(cell.group for cell in cells))
        raise ConfigError(f"--only {unknown[0]}: no such group or cell; groups are {groups}; --list shows the cells")
    chosen = [cell for cell in cells if not only or cell.name in only or cell.group in only]
    there = {seed for cell in chosen for seed in cell.seeds}
    if missing := [seed for seed in seeds or () if seed not in there]:
        raise ConfigError(f"--seeds {missing[0]}: these cells have the seeds {', '.join(map(str, sorted(there)))}")
    pairs = [(cell, seed) for cell in chosen for seed in cell.seeds if not seeds or seed in seeds]
    place = {cell.name: index for index, cell in enumerate(cells)}
    return sorted(pairs, key=lambda pair: (pair[0].phase, pair[1], place[pair[0].name]))
