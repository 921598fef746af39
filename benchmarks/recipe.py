"""Measures the choices of the training recipe: with the tiny world's plain teacher, with its hard one, and in films.

`python benchmarks/recipe.py` trains what is missing and writes `records/recipe/`; what is done is skipped, what was
broken off goes on. `make results` writes the tables of `docs/recipe.md` from them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from liteframe.bench.environment import environment
from liteframe.bench.paper.training import TIMM_CONFIG
from liteframe.bench.questions import question_batches, sizes_asked, videos_for
from liteframe.bench.records import write_record
from liteframe.bench.run_methods import RunParts
from liteframe.bench.target_fit import target_fit
from liteframe.command.cli import dispatch
from liteframe.command.quiet import quieten
from liteframe.errors import LiteFrameError
from liteframe.evaluation.answering import Cell, answer_all
from liteframe.models.backbone import WAP
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.teachers import InternVL
from liteframe.models.video_llm.adapted import frames_of
from liteframe.models.video_llm.answering_model import AnsweringModel
from liteframe.models.video_llm.model import LiteFrameBackbone
from liteframe.pipeline.isolation import isolated
from liteframe.pipeline.recipe import Recipe, StageSpec, read_recipe
from liteframe.pipeline.runner import PipelineRunner
from liteframe.system.fast_dtype import fast_dtype
from liteframe.system.json_files import read_json
from liteframe.system.runtime import share_cores, tune_malloc

RECORDS = Path(__file__).resolve().parent / "records" / "recipe"
SEEDS = (4, 5, 6)
ANSWERED_FRAMES = (8, 16, 32, 64, 128)
_CURVES = ("train/loss", "train/mse", "train/explained_variance", "train/centred_cosine", "train/answer_accuracy")
_LANGUAGE = ("pretrain-projector", "pretrain-llm")


@dataclass(frozen=True)
class Case:
    """What students are trained on.

    Attributes:
        world: settings of `liteframe synth`.
        hard: whether the teacher is the hard one, see `build_tiny_base_vlm`.
        scale: of WAP's cosine: about 12 effective tokens of 16, as `liteframe saliency` finds.
        frames: uniform midpoints of each test video that students are measured on, all measures at the first of them.
    """

    world: tuple[str, ...] = ()
    hard: bool = False
    scale: float = 20.0
    frames: tuple[int, ...] = (32,)


CASES = {
    "plain": Case(),
    "hard": Case(hard=True, scale=130.0),
    "film": Case(("--world=film",), frames=(32, 8, 16, 64)),
}


@dataclass(frozen=True)
class Variant:
    """One way of CTD, or of LMA.

    Attributes:
        about: in a few words.
        args: settings that differ from `tiny/ctd.yaml`, or from `tiny/lma.yaml`.
        literal: whether it is `LiteralCTD`.
        timm: whether the student starts from a ViT of timm that was taught the labels of single frames.
        cache: settings of the cache stage that differ from `tiny/cache.yaml`; then the features are its own.
        lma: whether it is one of LMA, after the CTD of `LMA_STARTS_FROM`.
        cases: of `CASES`, that it is tried in.
    """

    about: str
    args: tuple[str, ...] = ()
    literal: bool = False
    timm: bool = False
    cache: tuple[str, ...] = ()
    lma: bool = False
    cases: tuple[str, ...] = ("plain", "hard")

    @property
    def settings(self) -> list[str]:
        """All settings that differ."""
        return [*self.cache, *self.args]


_RAW = "--model.standardise=false"
_CLIPPED = "--model.clip_sigma=3"
_THIRD, _TENTH, _HUNDREDTH = (f"--model.optimizer.lr={lr}" for lr in (1e-3, 3e-4, 3e-5))
_EMA = "--trainer.callbacks=[{class_path: EMAWeightAveraging, init_args: {decay: 0.99}}]"
_HARD = ("hard",)
LMA_STARTS_FROM = "unclipped"
_SHORT_FIRST = (
    "--data.shapes=[{frames: 8, batch_size: 16, until_step: 200}, {frames: 16, batch_size: 16, until_step: 250},"
    " {frames: 32, batch_size: 12}, {frames: 64, batch_size: 8, from_step: 100},"
    " {frames: 128, batch_size: 6, from_step: 150}]"
)


def _lma(about: str, *args: str) -> Variant:
    return Variant(about, args, lma=True, cases=_HARD)


VARIANTS = {
    "literal": Variant("raw, from a head at zero, one limit for all channels", (_RAW, _CLIPPED), literal=True),
    "raw": Variant("raw, from a head at the channels' means, nothing clipped", (_RAW,)),
    "unclipped": Variant("standardised, nothing clipped"),
    "drop": Variant("standardised, residuals clipped by channel: left out", (_CLIPPED,)),
    "clamp": Variant("standardised, residuals clipped by channel: Huber's", (_CLIPPED, "--model.clip=clamp")),
    "tenth": Variant("as unclipped, a tenth of the learning rate", (_TENTH,), cases=_HARD),
    "hundredth": Variant("as unclipped, a hundredth of the learning rate", (_HUNDREDTH,), cases=_HARD),
    "ema": Variant("as unclipped, mean of the weights of the last 100 steps or so", (_EMA,), cases=_HARD),
    "timm": Variant("as unclipped, from a ViT of timm", timm=True, cases=_HARD),
    "timm-third": Variant("from a ViT of timm, a third of the learning rate", (_THIRD,), timm=True, cases=_HARD),
    "timm-tenth": Variant("from a ViT of timm, a tenth of the learning rate", (_TENTH,), timm=True, cases=_HARD),
    "timm-decay": Variant(
        "from a ViT of timm, .7 of the rate a block earlier", ("--model.layer_decay=0.7",), timm=True, cases=_HARD
    ),
    "short-strides": Variant(
        "1 or 2 frames between those of a window",
        cache=("--data.sampler={class_path: RandomSegment, init_args: {strides: [1, 2]}}",),
        cases=("film",),
    ),
    "log-uniform": Variant(
        "seconds between them, up to as many as in use",
        cache=("--data.sampler=LogUniformSpacing",),
        cases=("film",),
    ),
    "lma": _lma("one rate for all parts"),
    "lma-tenth": _lma("a tenth of the rate for all parts", "--model.optimizer.lr=1e-4"),
    "lma-llm-tenth": _lma("a tenth of it for the adapters", "--model.llm_lr=1e-4"),
    "lma-encoder-tenth": _lma(
        "a tenth of it for encoder and projector", "--model.encoder_lr=1e-4", "--model.projector_lr=1e-4"
    ),
    "lma-short-first": _lma("short videos first, long ones later", _SHORT_FIRST),
}


class Bench:
    """The runs of a case and a seed.

    Args:
        runs: folder of all runs.
        case: of `CASES`.
        seed: of world and trainings.
    """

    def __init__(self, runs: Path, case: str, seed: int) -> None:
        self.case, self.seed = CASES[case], seed
        self.world_run = runs / (f"{case}-seed{seed}" if self.case.world else f"seed{seed}")
        self.run = self.world_run / case
        self.stages = {stage.name: stage for stage in read_recipe("tiny").stages}

    def train(self, name: str, variant: Variant) -> Path:
        """The export of a variant, with all that it is trained from where that is missing."""
        world = replace(self.stages["world"], args=[*self.stages["world"].args, *self.case.world])
        self._execute(self.world_run, [world, *([self._timm()] if variant.timm else [])])
        vision = self._stage("pretrain-vision", [f"--model.hard={str(self.case.hard).lower()}"])
        own = self.run / name
        if variant.cache:
            self._execute(self.run, [vision])
            self._execute(own, [self._cache(own, variant), self._ctd(own, variant)])
            return own / "ctd" / "export"
        shared = [vision, self._cache(self.run, variant)]
        if variant.lma:
            self.train(LMA_STARTS_FROM, VARIANTS[LMA_STARTS_FROM])
            self._execute(self.run, [*shared, *(self._stage(each, []) for each in _LANGUAGE)])
            self._execute(own, [self._stage("lma", variant.args)])
            return own / "lma" / "export"
        self._execute(self.run, shared)
        self._execute(own, [self._ctd(self.run, variant)])
        return own / "ctd" / "export"

    def _timm(self) -> StageSpec:
        vision = self._stage("pretrain-vision", [])
        return replace(vision, name="pretrain-timm", about="train a ViT of timm", config=[TIMM_CONFIG])

    def _cache(self, run: Path, variant: Variant) -> StageSpec:
        return self._stage("cache", [f"--model.scale={self.case.scale}", *variant.cache], run)

    def _ctd(self, cache_run: Path, variant: Variant) -> StageSpec:
        start = [f"--model.timm_weights={self.world_run}/pretrain-timm/export"] if variant.timm else []
        literal = ["--model=literal_ctd.LiteralCTD"] if variant.literal else []
        stage = self._stage("ctd", [f"--model.scale={self.case.scale}", *start, *variant.args], cache_run)
        return replace(stage, args=[*literal, *stage.args])

    def _stage(self, name: str, more: Sequence[str], cache_run: Path | None = None) -> StageSpec:
        stage = self.stages[name]
        places = {
            "{run}/world": f"{self.world_run}/world",
            "--model.teacher={run}/pretrain-llm": f"--model.teacher={self.run}/pretrain-vision",
            "{run}/pretrain": f"{self.run}/pretrain",
            "{run}/cache": f"{cache_run}/cache",
            "{run}/ctd": f"{self.run}/{LMA_STARTS_FROM}/ctd",
        }
        args = stage.args
        for before, after in places.items():
            args = [word.replace(before, after) for word in args]
        return replace(stage, args=[*args, *more])

    def _execute(self, run: Path, stages: list[StageSpec]) -> None:
        PipelineRunner(Recipe("recipe", stages, allow_code=True), run, self.seed, dispatch).execute()

    def answers(self, export: Path) -> dict[str, Any]:
        """Accuracy on the test videos by frames, of what LMA exports."""
        model = RunParts(self.run).adapted(export).eval()
        models: dict[Cell, AnsweringModel] = {("lma", frames): model for frames in ANSWERED_FRAMES}
        data = videos_for(by_name := {"lma": model}, self.world_run / "world" / "test.jsonl", max(ANSWERED_FRAMES), 8)
        with isolated(self.seed):
            batches = question_batches(data, "questions about held-out videos")
            scores = answer_all(models, batches, getattr(torch, fast_dtype("cpu")), torch.device("cpu"))
        accuracy = {str(frames): score.compute() for (_, frames), score in scores.items()}
        return {"accuracy": accuracy, **sizes_asked(data, by_name)}

    def fit(self, encoder: Path) -> dict[str, Any]:
        """How near an encoder is to its targets on the test videos."""
        teacher = InternVL(str(self.run / "pretrain-vision" / "export")).load("sdpa")
        wap = WAP(similarity="cosine", scale=self.case.scale)
        manifest = self.world_run / "world" / "test.jsonl"
        with isolated(self.seed):
            student = LiteFrameBackbone(LiteFrameEncoder.from_pretrained(encoder), frames_of(encoder).image_size)
            fits = {frames: target_fit(student, teacher, wap, manifest, frames) for frames in self.case.frames}
        by_frames = {str(frames): found["explained_variance"] for frames, found in sorted(fits.items())}
        return {**fits[self.case.frames[0]], "explained_variance_by_frames": by_frames}


def curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What the log of a training says: step and value, about twenty of each."""
    log = EventAccumulator(str(run), {"scalars": 0}).Reload()
    found = {}
    for name in _CURVES:
        if name in log.Tags()["scalars"]:
            events = log.Scalars(name)
            found[name] = [(each.step, round(each.value, 4)) for each in events[:: max(1, len(events) // 20)]]
    return found


def record_path(case: str, seed: int) -> Path:
    """Where the measures of a case lie."""
    return RECORDS / f"{case}-seed{seed}.json"


def measured(case: str, seed: int) -> dict[str, Any]:
    """Variant -> its settings and measures; what was measured under other settings is left out."""
    path = record_path(case, seed)
    record = read_json(path) if path.is_file() else {"variants": {}, "settings": _settings(case, seed)}
    if record["settings"] != _settings(case, seed):
        return {}
    rows = record["variants"]
    return {name: row for name, row in rows.items() if name in VARIANTS and row["args"] == VARIANTS[name].settings}


def _settings(case: str, seed: int) -> dict[str, Any]:
    fields = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(CASES[case]).items()}
    return {"case": case, "seed": seed, **fields, "split": "test"}


def _measure(runs: Path, case: str, seed: int, name: str) -> None:
    variant, bench = VARIANTS[name], Bench(runs, case, seed)
    export = bench.train(name, variant)
    found = bench.answers(export) if variant.lma else bench.fit(export)
    here = environment("cpu", fast_dtype("cpu"), "sdpa")
    row = {"about": variant.about, "args": variant.settings, **found, "commit": here["commit"]}
    rows = {**measured(case, seed), name: {**row, "curves": curves(export.parent)}}
    path = record_path(case, seed)
    write_record(path, "recipe", here, _settings(case, seed), {"variants": rows})
    print(f"{name}, {case}, seed {seed}: {found}\n{path}", flush=True)


def main(args: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(VARIANTS), choices=VARIANTS, help="variants; all by default")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--runs", type=Path, default=Path("runs") / "recipe", help="where the runs lie")
    given = parser.parse_args(args)
    quieten()
    for seed in given.seeds:
        for case in given.cases:
            for name in given.only:
                if case in VARIANTS[name].cases and name not in measured(case, seed):
                    _measure(given.runs, case, seed, name)
    return 0


if __name__ == "__main__":
    try:
        tune_malloc()
        share_cores()
        sys.exit(main(sys.argv[1:]))
    except LiteFrameError as error:
        sys.exit(f"error: {error}")
