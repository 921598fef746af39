"""Trains the students of the cells: a small recipe each, so that a kill costs little and nothing is made twice."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from liteframe.bench.paper.base_run import RunVerb, Workplace, stages_of
from liteframe.bench.paper.cells import STORES, PaperCell, Training, find_cell
from liteframe.data.store.removal import remove_store
from liteframe.errors import StoreError
from liteframe.pipeline.recipe import Recipe, StageSpec
from liteframe.pipeline.records import done_path, fingerprint, read_record
from liteframe.pipeline.runner import PipelineRunner

TIMM_CONFIG = "ablations/pretrain_timm_vit.yaml"
_BASE_STAGE = "control-llm"
_SEEDED = ["--data.seed={seed}", "--model.seed={seed}"]


def train(cell: PaperCell, place: Workplace, run_verb: RunVerb) -> list[dict[str, Any]]:
    """Makes the student of a cell, with the store and the student that it starts from where they are missing.

    Returns:
        The stages that made it: those of the store and of the cell that it starts from too.

    Raises:
        Busy: another process works on something that it needs.
        LiteFrameError: what a stage raises.
    """
    made = cell.training
    assert made is not None
    stages: list[dict[str, Any]] = []
    if made.base is not None:
        with place.alone(made.base):
            stages += train(find_cell(made.base), place, run_verb)
    recipe = recipe_of(cell, place)
    if made.store is not None and _is_open(recipe, place.of(cell.name), place.seed):
        _require_store(made.store, place, run_verb)
    PipelineRunner(recipe, place.of(cell.name), place.seed, run_verb).execute()
    if made.store is not None:
        stages += _store_record(made.store, place)
    return stages + stages_of(place.of(cell.name))


def student_of(cell: PaperCell, place: Workplace) -> Path:
    """The export that a trained cell is measured by: LMA's where there is one, else CTD's."""
    assert cell.training is not None
    return place.of(cell.name) / ("ctd" if cell.training.lma is None else "lma") / "export"


def recipe_of(cell: PaperCell, place: Workplace) -> Recipe:
    """The stages of a cell, with the configs of the tiny recipe and what the cell changes in them."""
    made = cell.training
    assert made is not None
    stages = []
    if made.base_vlm is not None:
        stages.append(_base_stage(made, place))
    if made.timm:
        train_on = f"--data.train={place.base_run}/world/train.jsonl"
        stages.append(
            StageSpec(
                "pretrain-timm",
                "fit",
                "train a ViT of timm",
                [TIMM_CONFIG],
                [train_on, *_SEEDED],
                outputs=["export/model.safetensors"],
            )
        )
    if made.ctd is not None:
        stages.append(_ctd_stage(made, place))
    if made.lma is not None:
        stages.append(_lma_stage(made, place))
    return Recipe(cell.name, stages)


def base_vlm_of(cell: PaperCell, place: Workplace) -> Path | None:
    """The export of the base VLM that a cell trained; None where it has the run's."""
    trained = cell.training is not None and cell.training.base_vlm is not None
    return place.of(cell.name) / _BASE_STAGE / "export" if trained else None


def _base_stage(made: Training, place: Workplace) -> StageSpec:
    assert made.base_vlm is not None
    args = [
        f"--data.train={place.base_run}/world/train.jsonl",
        f"--model.host={place.base_run}/pretrain-projector/export",
        *_SEEDED,
        *made.base_vlm,
    ]
    about, outputs = "train another base VLM", ["export/model.safetensors"]
    return StageSpec(_BASE_STAGE, "fit", about, ["tiny/pretrain_llm.yaml"], args, outputs=outputs)


def _ctd_stage(made: Training, place: Workplace) -> StageSpec:
    assert made.ctd is not None
    store = place.base_run / "cache" / "store" if made.store is None else place.store(made.store) / "cache" / "store"
    start = ["--model.timm_weights={run}/pretrain-timm/export"] if made.timm else []
    args = [f"--data.store={store}", *_SEEDED, *start, *made.ctd]
    return StageSpec("ctd", "fit", "distil", ["tiny/ctd.yaml"], args, outputs=["export/model.safetensors"])


def _lma_stage(made: Training, place: Workplace) -> StageSpec:
    assert made.lma is not None
    if made.ctd is not None:
        encoder = "{run}/ctd/export"
    else:
        encoder = f"{place.base_run if made.base is None else place.of(made.base)}/ctd/export"
    args = [
        f"--data.train={place.base_run}/world/train.jsonl",
        f"--model.host={place.base_run}/pretrain-llm/export",
        f"--model.encoder={encoder}",
        *_SEEDED,
        *made.lma,
    ]
    return StageSpec("lma", "fit", "adapt", ["tiny/lma.yaml"], args, outputs=["export/liteframe.json"])


def _is_open(recipe: Recipe, run: Path, seed: int) -> bool:
    """Whether a stage of a recipe has not run yet as it is now."""
    before: dict[str, str] = {}
    for stage in recipe.stages:
        wanted = fingerprint(stage, seed, dict(before))
        before[stage.name] = wanted.digest
        done = read_record(done_path(run, stage.name))
        if done is None or wanted.difference(done["fingerprint"]):
            return True
    return False


def _require_store(name: str, place: Workplace, run_verb: RunVerb) -> None:
    args = [
        f"--data.predict={place.base_run}/world/train.jsonl",
        "--data.seed={seed}",
        f"--model.teacher={place.base_run}/pretrain-llm/export",
        "--model.store={run}/cache/store",
        *STORES[name],
    ]
    stage = StageSpec(
        "cache", "predict", "the teacher's features", ["tiny/cache.yaml"], args, outputs=["store/COMPLETE"]
    )
    with place.alone(f"store-{name}"):
        PipelineRunner(Recipe(f"store-{name}", [stage]), place.store(name), place.seed, run_verb).execute()


def _store_record(name: str, place: Workplace) -> list[dict[str, Any]]:
    return [{**stage, "name": f"{stage['name']} ({name})"} for stage in stages_of(place.store(name))]


def drop_stores(place: Workplace, still_needed: Collection[str]) -> None:
    """Removes the features of stores that no open cell of the seed learns from; their stages' records stay.

    Only files that are a store's own are removed, and a folder without its key is left as it is.
    """
    for name in set(STORES) - set(still_needed):
        store = place.store(name) / "cache" / "store"
        if store.is_dir():
            try:
                remove_store(store)
            except StoreError as error:
                print(f"{error}; no open cell needs it, and it is left as it is", flush=True)
            else:
                print(f"{store}: no open cell needs it, removed", flush=True)
