"""The base run that the cells of a seed stand on: a finished run of the tiny recipe, whichever code made it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from liteframe.errors import ConfigError
from liteframe.pipeline.recipe import read_recipe
from liteframe.pipeline.runner import PipelineRunner
from liteframe.system.run_lock import RunLock, is_locked
from liteframe.system.stage_records import read_stage_records

RECIPE = "tiny"
LEFT_OUT = "bench"
"""The one stage whose outcome no cell needs."""
NEEDED = (
    "world/train.jsonl",
    "world/test.jsonl",
    "pretrain-llm/export/model.safetensors",
    "cache/store/COMPLETE",
    "ctd/export/model.safetensors",
    "lma/export/liteframe.json",
)
_OF_A_STAGE = ("name", "seconds", "tries", "code", "digest")

RunVerb = Callable[[Sequence[str]], int]


class Busy(Exception):
    """Another process works on it; it is no error, and something else can be done meanwhile."""


class Workplace:
    """Where the runs lie.

    Args:
        runs: folder of all runs.
        seed: of the world.
    """

    def __init__(self, runs: Path, seed: int) -> None:
        self.seed = seed
        self.base_run = runs / (RECIPE if seed == 0 else f"{RECIPE}-seed{seed}")
        self.folder = runs / "paper" / f"seed{seed}"

    def of(self, cell: str) -> Path:
        """Run folder of a cell that trains."""
        return self.folder / cell

    def store(self, name: str) -> Path:
        """Run folder of a feature store that cells share."""
        return self.folder / f"store-{name}"

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Keeps other processes off a cell, a store or the base run. Raises Busy where one is on it already."""
        lock = RunLock(self.folder / "locks" / what)
        try:
            lock.__enter__()
        except ConfigError as error:
            raise Busy(f"{what} of seed {self.seed}: {error}") from error
        try:
            yield
        finally:
            lock.__exit__(None, None, None)


def require_base_run(place: Workplace, run_verb: RunVerb) -> None:
    """Leaves a run that has all that is needed as it is; runs the recipe where something is missing.

    Raises:
        Busy: another process works in the run's folder.
        LiteFrameError: what a stage raises.
    """
    if is_locked(place.base_run):
        raise Busy(f"{place.base_run}: another process works in this run")
    if not missing_of(place.base_run):
        return
    with place.alone("ground"):
        if missing := missing_of(place.base_run):
            print(f"{place.base_run}: {missing[0]} is missing, so the recipe {RECIPE} runs", flush=True)
            recipe = read_recipe(RECIPE)
            stages = [stage.name for stage in recipe.stages if stage.name != LEFT_OUT]
            PipelineRunner(recipe, place.base_run, place.seed, run_verb).execute(stages)


def missing_of(base_run: Path) -> list[str]:
    """What a run lacks of `NEEDED`."""
    return [name for name in NEEDED if not (base_run / name).exists()]


def stages_of(run: Path) -> list[dict[str, Any]]:
    """Name, seconds, tries and code of the finished stages of a run; records of earlier code may lack some of these."""
    return [
        {key: record.get(key) for key in _OF_A_STAGE}
        for record in read_stage_records(run)
        if record.get("name") != LEFT_OUT
    ]
