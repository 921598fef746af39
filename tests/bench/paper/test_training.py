"""Students of cells: the recipe of each, stores made once and dropped when no open cell needs them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from built_stages import build_stage
from liteframe.bench.paper.base_run import Busy, Workplace
from liteframe.bench.paper.cells import CELLS, FURTHER_CELLS, STORES, PaperCell, Training, find_cell
from liteframe.bench.paper.training import drop_stores, recipe_of, student_of, train
from liteframe.bench.paper.work import Worker
from liteframe.data.store.feature_store import StoreKey
from liteframe.data.store.index import write_key
from liteframe.errors import LiteFrameError
from liteframe.models.backbone import WAP, Pool
from liteframe.planning.build import BuildOnly
from liteframe.stages.cache import CacheStage
from liteframe.stages.ctd import CTDStage
from liteframe.stages.lma import LMAStage
from liteframe.tiny.pretrain import HostPretrainStage, TimmPretrainStage

PROMISED = {"predict": "store/COMPLETE", "fit": "export/model.safetensors"}


class Verbs:
    """Stands in for the command: notes each stage and leaves what the recipe promises."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.commands: list[list[str]] = []
        self.fail_at = fail_at

    def __call__(self, args: Sequence[str]) -> int:
        self.commands.append(list(args))
        (folder,) = [word.partition("=")[2] for word in args if word.startswith("--trainer.default_root_dir=")]
        name = "export/liteframe.json" if folder.endswith("/lma") else PROMISED[args[0]]
        (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
        if len(self.commands) == self.fail_at:
            return 9
        if args[0] == "predict":
            write_key(Path(folder) / "store", StoreKey({}, {}, {}, {}, "auto", "bfloat16"))
        (Path(folder) / name).write_text("")
        return 0

    @property
    def stages(self) -> list[str]:
        """Run folder and stage of each command, behind the seed's folder."""
        found = []
        for args in self.commands:
            (folder,) = [word for word in args if word.startswith("--trainer.default_root_dir=")]
            found.append("/".join(folder.split("/")[-2:]))
        return found


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path / "runs", 5)


def test_a_store_is_made_once_for_all_its_cells(place: Workplace) -> None:
    verbs = Verbs()
    stages = train(find_cell("ctd-8x"), place, verbs)
    assert verbs.stages == ["store-8x/cache", "ctd-8x/ctd"]
    assert [stage["name"] for stage in stages] == ["cache (8x)", "ctd"] and all(stage["code"] for stage in stages)
    train(find_cell("ctd-8x-clip8"), place, verbs)
    assert verbs.stages[2:] == ["ctd-8x-clip8/ctd"]
    cache, ctd = verbs.commands[:2]
    assert "--model.block=[2,2,2]" in cache and "--model.block=[2,2,2]" in ctd
    assert f"--data.store={place.store('8x')}/cache/store" in ctd
    assert f"--model.store={place.store('8x')}/cache/store" in cache and "--data.seed=5" in cache
    train(find_cell("ctd-8x"), place, verbs)
    assert len(verbs.commands) == 3, "what is done is not done again"


def test_what_does_not_change_the_targets_learns_from_the_runs_own_store(place: Workplace) -> None:
    verbs = Verbs()
    train(find_cell("ctd-attention"), place, verbs)
    (ctd,) = verbs.commands
    assert f"--data.store={place.base_run}/cache/store" in ctd
    assert "--model.encoder.temporal_mixer=attention" in ctd


def test_lma_starts_from_the_cell_before(place: Workplace) -> None:
    verbs = Verbs()
    stages = train(find_cell("lma-joint"), place, verbs)
    assert verbs.stages == ["ctd-joint/ctd", "lma-joint/lma"]
    assert f"--model.encoder={place.of('ctd-joint')}/ctd/export" in verbs.commands[1]
    assert f"--model.host={place.base_run}/pretrain-llm/export" in verbs.commands[1]
    assert [stage["name"] for stage in stages] == ["ctd", "lma"]
    assert student_of(find_cell("lma-joint"), place) == place.of("lma-joint") / "lma" / "export"
    train(find_cell("lma-frozen"), place, verbs)
    assert f"--model.encoder={place.base_run}/ctd/export" in verbs.commands[2]
    assert "--model.train_encoder=false" in verbs.commands[2]


def test_a_start_from_timm_is_trained_first(place: Workplace) -> None:
    first, second = recipe_of(find_cell("ctd-timm"), place).stages
    assert (first.name, second.name) == ("pretrain-timm", "ctd")
    assert "--model.timm_weights={run}/pretrain-timm/export" in second.args


def test_what_was_broken_off_goes_on(place: Workplace) -> None:
    verbs = Verbs(fail_at=2)
    with pytest.raises(LiteFrameError, match="ctd ended with code 9"):
        train(find_cell("ctd-max"), place, verbs)
    stages = train(find_cell("ctd-max"), place, verbs)
    assert verbs.stages == ["store-max/cache", "ctd-max/ctd", "ctd-max/ctd"]
    assert stages[-1]["tries"] == 2


def test_two_processes_do_not_make_one_store(place: Workplace) -> None:
    with place.alone("store-4x"), pytest.raises(Busy, match="store-4x of seed 5"):
        train(find_cell("ctd-4x"), place, Verbs())
    with place.alone("ctd-full"), pytest.raises(Busy, match="ctd-full of seed 5"):
        train(find_cell("lma-full"), place, Verbs())


def test_stores_go_when_no_open_cell_needs_them(
    place: Workplace, records: Path, fill: Callable[..., None], tmp_path: Path
) -> None:
    verbs = Verbs()
    cells = [find_cell(name) for name in ("ctd-8x", "ctd-8x-clip8", "ctd-max")]
    worker = Worker(tmp_path / "runs", records, verbs, cells)
    for cell in cells:
        train(cell, place, verbs)
    stores = {name: place.store(name) / "cache" / "store" for name in ("8x", "max")}
    fill(records, lambda *_: 0.5, cells[:1], seeds=(5,))
    drop_stores(place, worker._stores_needed(5))
    assert stores["8x"].is_dir() and stores["max"].is_dir()
    fill(records, lambda *_: 0.5, cells[1:2], seeds=(5,))
    theirs = stores["8x"] / "shard-notes.txt"
    theirs.write_text("mine")
    drop_stores(place, worker._stores_needed(5))
    assert [*stores["8x"].iterdir()] == [theirs] and stores["max"].is_dir()
    drop_stores(place, worker._stores_needed(5))
    assert theirs.read_text() == "mine"
    theirs.unlink()
    assert json.loads((place.store("8x") / "cache" / "done.json").read_text())["name"] == "cache"
    train(cells[0], place, verbs)
    assert len(verbs.commands) == 5, "a finished student does not need its store again"
    train(PaperCell("new", "g", (("new", (8,)),), (5,), 2, Training(store="8x", ctd=())), place, verbs)
    assert stores["8x"].is_dir(), "a new cell has it made again"


def test_the_store_of_a_cell_that_an_open_one_starts_from_stays(
    tmp_path: Path, records: Path, fill: Callable[..., None]
) -> None:
    base = PaperCell("base", "g", (("base", (8,)),), (5,), 2, Training(store="8x", ctd=()))
    later = PaperCell("later", "g", (("later", (8,)),), (5,), 2, Training(lma=(), base="base"))
    fill(records, lambda *_: 0.5, [base], seeds=(5,))
    assert Worker(tmp_path, records, Verbs(), [base, later])._stores_needed(5) == {"8x"}


def built(verb: str, config: str, args: Sequence[str]) -> Any:
    return build(verb, config, args).model


def build(verb: str, config: str, args: Sequence[str]) -> BuildOnly:
    words = [word for word in args if not word.startswith("--model.timm_weights")]
    return build_stage(verb, config, *words)


@pytest.mark.parametrize(
    "cell", [cell for cell in (*CELLS, *FURTHER_CELLS) if cell.training], ids=lambda cell: cell.name
)
def test_the_stages_know_every_setting(cell: PaperCell, place: Workplace) -> None:
    assert cell.training is not None
    for stage in recipe_of(cell, place).stages:
        assert stage.verb == "fit" and stage.outputs
        (config,) = stage.config
        run = build("fit", config, [stage.fill(word, place.of(cell.name), 5) for word in stage.args])
        model = run.model
        if stage.name == "pretrain-timm":
            assert isinstance(model, TimmPretrainStage)
            student = default_student()
            assert (student["hidden_size"], student["num_hidden_layers"]) == (96, 3), "the ViT's own defaults"
            continue
        if stage.name == "control-llm":
            assert isinstance(model, HostPretrainStage) and model.pool == Pool("average", (1, 2, 2))
            usual = built("fit", "tiny/pretrain_llm.yaml", [])
            assert usual.pool == WAP((1, 2, 2), "cosine", 20.0) and usual.pooled_too and model.pooled_too
            continue
        if stage.name == "lma":
            assert isinstance(model, LMAStage)
            assert (model.encoder_source is None) == cell.name.startswith("lma-teacher")
            assert model.train_encoder == (cell.name != "lma-frozen" and model.encoder_source is not None)
            continue
        assert isinstance(model, CTDStage)
        made = STORES[cell.training.store] if cell.training.store else ()
        cache = built("predict", "tiny/cache.yaml", made)
        assert isinstance(cache, CacheStage) and cache.compressor == model.compressor, "what CTD learns is in the store"
        changed = student_of_run(run)
        if cell.group == "noise":
            assert changed == default_student() and model.seed == 1005, "only the start is another"
        elif cell.training.ctd:
            assert changed != default_student(), "the setting changes something"


def default_student() -> dict[str, Any]:
    return student_of_run(build("fit", "tiny/ctd.yaml", []))


def student_of_run(run: BuildOnly) -> dict[str, Any]:
    """What CTD trains, and how."""
    model, trainer = run.model, run.settings["trainer"]
    assert isinstance(model, CTDStage)
    trained = {name: getattr(model, name) for name in ("clip_sigma", "terms")}
    trained |= {name: trainer[name] for name in ("max_steps", "callbacks")}
    standardises = model.target_statistics.is_standardising
    return {**model.encoder_config.to_diff_dict(), **trained, "target": model.compressor, "standardise": standardises}
