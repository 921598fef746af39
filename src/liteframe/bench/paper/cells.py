"""What `benchmarks/paper.py` measures: every cell of the paper's tables and figures, in the order of work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from liteframe.errors import ConfigError

CTD, LMA = "liteframe-ctd", "liteframe-lma"
"""The student of a run, with the LLM frozen and adapted."""
AGAIN = {CTD: "ctd-again", LMA: "lma-again"}
"""Student of the run -> the cell that trained it again, from another start."""
CONTROL = "control:"
"""Before the names of methods on the base VLM that learnt to read average-pooled tokens."""
SCOPES = ("tome-keys", "tome-frame", "tome-video")
"""ToMe by other scopes and by keys; no claim counts these."""
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
STORES: dict[str, tuple[str, ...]] = {
    "4x": ("--model.block=[1,2,2]",),
    "8x": ("--model.block=[2,2,2]",),
    "32x": ("--model.block=[8,2,2]",),
    "average": ("--model.target=average",),
    "max": ("--model.target=max",),
    "dense": ("--model.target=dense",),
}
"""Feature stores beside the run's own (WAP, 16x), made once a seed: name -> settings of the cache stage."""
DENSE_POOLED = ("+average", "+wap")
"""A student that learnt dense tokens, pooled 16x after it; its WAP is by the mean token, as it has no class token."""
MIXERS = ("full", "attention", "joint", "none")
"""What may mix a clip's frames in place of the paper's depth-wise convolution."""

_ON_GRID = ("average", "max", "subsample", "wap")
_CONTROLLED = tuple(
    f"+{name}"
    for name in (
        *_ON_GRID,
        "tome",
        "prumerge",
        "visionzip",
        "fastvid",
        "prunevid",
        "holitom",
    )
)
"""What is tried on another base VLM: all that reduce 16x behind the encoder but PruMerge+, which is PruMerge there."""

MEANINGS = {"--model.clip_sigma": "drops residuals beyond so many deviations of their channel, once warmed up"}
"""Setting of a training -> what it does, for settings that once did something else.

It stands in the records of cells that have the setting, so that none of before is read as one of now.
"""

OTHER_START = "--model.seed=100{seed}"
"""Stands behind the seed that every training is given, so it is the one that counts."""


@dataclass(frozen=True)
class Training:
    """How a cell's student is made.

    Attributes:
        store: name in `STORES` of what CTD learns from; None is the run's own.
        ctd: settings of CTD that differ; None where the student is that of `base`.
        lma: settings of LMA that differ; None where the LLM stays frozen.
        base: cell whose student LMA starts from; None with LMA is the run's own.
        timm: whether the student starts from a ViT of timm, trained on the same frames first.
        base_vlm: settings of the base VLM's last training that differ; no student then, but that base VLM
            answers with the methods.
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

    Attributes:
        name: also of its record; methods of a student that it trains begin with it.
        group: what it belongs to, see `--only`.
        methods: name and the frame counts that it is asked at.
        seeds: of the worlds.
        phase: cells of an earlier phase come first, at all seeds.
        training: None where the run has all that is needed.
        about: in a few words.
        retired: the code no longer does this; the records that there are, of before `MEANINGS` told it, are shown.
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


def _asked(name: str, group: str, methods: Sequence[str], about: str) -> PaperCell:
    return PaperCell(name, group, tuple((method, FRAMES) for method in methods), ALL_SEEDS, about=about)


def _budget_points() -> tuple[tuple[str, tuple[int, ...]], ...]:
    """The points of Figure 3 that no cell of Table 1 has."""
    methods = []
    for method, ratio in RATIOS.items():
        counts = {frames for budget in BUDGETS if (frames := frames_at(budget, ratio))}
        known = set(FRAMES) if method in ("teacher", "teacher+wap") else set()
        methods.append((method, tuple(sorted(counts - known))))
    return tuple(methods)


def _trained(name: str, group: str, about: str, phase: int = 2, **training: Any) -> PaperCell:
    return PaperCell(name, group, ((name, FRAMES),), TWO_SEEDS, phase, Training(**training), about)


_MIXER_NAMES = {
    "full": "full temporal convolution",
    "attention": "interleaved temporal attention",
    "joint": "joint space-time attention",
    "none": "no mixing of frames but by the strides",
}
CELLS: tuple[PaperCell, ...] = (
    _asked("teacher", "table1", ["teacher"], "all tokens"),
    PaperCell(
        "students",
        "table3",
        (("liteframe-ctd", (*FRAMES, LONGEST)), ("liteframe-lma", (*FRAMES, LONGEST))),
        ALL_SEEDS,
        about="the run's student, LLM frozen and adapted",
    ),
    _asked("pooling", "table1", [f"teacher+{kind}" for kind in _ON_GRID], "grids, 16x"),
    _asked("merging", "table1", [f"teacher+{name}" for name in ("tome", "prumerge", "prumerge+", "visionzip")], "16x"),
    _asked("video", "table1", [f"teacher+{name}" for name in ("fastvid", "dycoke", "prunevid", "holitom")], "16x"),
    _asked("in-encoder", "table1", ["tome-teacher+wap"], "tokens merged in every layer of the encoder"),
    _asked("in-encoder-quarter", "table1", ["tome4-teacher+wap"], "a quarter of the patches left in the encoder"),
    _asked("in-llm", "table1", ["teacher+fastv", "teacher+pyramiddrop"], "tokens dropped inside the LLM"),
    _asked("tome-scopes", "table1", [f"teacher+{name}" for name in SCOPES], "ToMe by keys and scope"),
    PaperCell("budgets", "figure3", _budget_points(), ALL_SEEDS, about="WAP by ratio at equal visual tokens"),
    *(
        cell
        for mixer in MIXERS
        for cell in (
            _trained(
                f"ctd-{mixer}",
                "mixers",
                f"{_MIXER_NAMES[mixer]}, LLM frozen",
                phase=1,
                ctd=(f"--model.encoder.temporal_mixer={mixer}",),
            ),
            _trained(
                f"lma-{mixer}", "mixers", f"{_MIXER_NAMES[mixer]}, LLM adapted", phase=1, lma=(), base=f"ctd-{mixer}"
            ),
        )
    ),
    _trained("ctd-again", "noise", "the run's student from another start", phase=1, ctd=(OTHER_START,)),
    _trained("lma-again", "noise", "the same, LLM adapted", phase=1, lma=(OTHER_START,), base="ctd-again"),
    PaperCell(
        "control",
        "control",
        tuple((f"{CONTROL}teacher{name}", FRAMES) for name in ("", *_CONTROLLED)),
        TWO_SEEDS,
        1,
        Training(base_vlm=("--model.pooled_by=average",)),
        "a base VLM whose LLM learnt tokens of average pooling in place of WAP's",
    ),
    _trained("ctd-4x", "compression", "(1, 2, 2)", store="4x", ctd=("--model.block=[1,2,2]",)),
    _trained("ctd-8x", "compression", "(2, 2, 2)", store="8x", ctd=("--model.block=[2,2,2]",)),
    *(
        _trained(
            f"ctd-8x-clip{clip}",
            "clips",
            f"8x, clips of {clip} frames",
            store="8x",
            ctd=("--model.block=[2,2,2]", f"--model.encoder.clip_frames={clip}"),
        )
        for clip in (2, 8)
    ),
    _trained("ctd-32x", "compression", "(8, 2, 2)", store="32x", ctd=("--model.block=[8,2,2]",)),
    _trained("ctd-16x-clip8", "clips", "16x, clips of 8 frames", ctd=("--model.encoder.clip_frames=8",)),
    _trained("ctd-late", "strides", "after blocks 2 and 3", ctd=("--model.encoder.downsample_after=[2,3]",)),
    _trained(
        "ctd-at-once",
        "strides",
        "all after block 1",
        ctd=("--model.encoder.downsample_after=[1]",),
    ),
    *(
        _trained(f"ctd-{target}", "target", about, store=target, ctd=(f"--model.target={target}",))
        for target, about in (
            ("average", "average pooling of the teacher"),
            ("max", "max pooling of the teacher"),
        )
    ),
    PaperCell(
        "ctd-dense",
        "target",
        tuple((f"ctd-dense{after}", FRAMES) for after in ("", *DENSE_POOLED)),
        TWO_SEEDS,
        2,
        Training(store="dense", ctd=("--model.target=dense",)),
        "all the teacher's tokens; pooled afterwards, too",
    ),
    PaperCell(
        "ctd-clipped",
        "clipping",
        (("ctd-clipped", FRAMES),),
        TWO_SEEDS,
        2,
        Training(ctd=("--model.clip_sigma=3",)),
        "residuals beyond 3 deviations of all channels together left out, as CTD once did",
        retired=True,
    ),
    _trained(
        "ctd-clipped-by-channel",
        "clipping",
        "residuals beyond 3 deviations of their channel left out",
        ctd=("--model.clip_sigma=3",),
    ),
    _trained("ctd-timm", "start", "from a ViT of timm", ctd=(), timm=True),
    _trained("lma-frozen", "lma", "the encoder stays as CTD left it", lma=("--model.train_encoder=false",)),
)


def find_cell(name: str, cells: Sequence[PaperCell] = CELLS) -> PaperCell:
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
