"""A rehearsal changes what its table says and nothing else, runs the real command, and fails where the node would."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from subprocess import DEVNULL, TimeoutExpired
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import yaml

from forked_command import ForkedCommand
from liteframe.command import cli
from liteframe.command.configs import shipped_configs
from liteframe.errors import ConfigError, LiteFrameError
from liteframe.models.folders.training_record import TrainingRecord
from liteframe.rehearsal import configs, steps
from liteframe.rehearsal.command import rehearse_command
from liteframe.rehearsal.configs import CTD, EVALUATE, LMA, parse, read_runs
from liteframe.rehearsal.cuts import Places, cut, processes_of, teacher_of
from liteframe.rehearsal.real_size import check_real_size, chosen
from liteframe.rehearsal.rehearse import _steps_of
from liteframe.rehearsal.report import differences, failure
from liteframe.rehearsal.small_models import SmallModel
from liteframe.rehearsal.steps import Step, run_step
from tiny_world import host_folder

GPU8, FSDP = "trainer/gpu8.yaml", "trainer/fsdp.yaml"
MAY_DIFFER = (
    *("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.default_root_dir"),
    *("trainer.strategy.init_args.data_parallel_size", "model.init_args.teacher", "model.init_args.host"),
    *("model.init_args.source", "model.init_args.store", "model.init_args.encoder", "data.init_args.train"),
    *("data.init_args.test", "data.init_args.predict", "data.init_args.frames", "data.init_args.batch_size"),
    *("data.init_args.val", "model.init_args.timm_weights", "trainer.max_steps", "trainer.val_check_interval"),
    *("data.init_args.num_workers", "model.init_args.statistics_batches", "model.init_args.encoder_chunk_frames"),
)
"""Of the shipped configs: sizes, numbers, files and devices."""


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@cache
def parsed(verb: str, *words: str) -> str:
    return json.dumps(parse(verb, words))


@pytest.fixture(autouse=True)
def equal_words_are_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rehearsal reads all four stages, most of them as they ship."""
    shipped = str(shipped_configs())

    def parse_once(verb: str, words: Sequence[str]) -> dict[str, Any]:
        files = [words[number + 1] for number, word in enumerate(words) if word == "--config"]
        if all(file.startswith(shipped) for file in files):
            return dict(json.loads(parsed(verb, *words)))
        return parse(verb, words)

    monkeypatch.setattr(configs, "parse", parse_once)


def small(source: str, folder: Path) -> SmallModel:
    return SmallModel(folder, source, {}, {}, 14, "", False)


def both_configs(run: Any, home: Path, processes: int = 8) -> tuple[dict[str, Any], dict[str, Any]]:
    """A stage's config as it is, and as it is rehearsed."""
    teacher = teacher_of(run)
    read = [*([] if teacher is None else [teacher[0]]), run.model.get("timm_weights")]
    models = {source: small(source, home / "small") for source in read if source}
    path = home / f"{run.kind.name}.yaml"
    path.write_text(yaml.safe_dump(cut(run, Places(home, models), processes)))
    return run.settings, parse(run.kind.verb, (*run.words, "--config", str(path)))


@pytest.mark.parametrize("where", [GPU8, FSDP])
def test_sizes_change_and_nothing_else(tmp_path: Path, where: str) -> None:
    for run in read_runs(["cache.yaml", "ctd.yaml", "lma.yaml", "eval.yaml", where], (), False):
        assert run.given and processes_of(run) == 8
        before, after = both_configs(run, tmp_path)
        changed = {name for name, _, _ in differences(before, after)}
        allowed = ("data.init_args.shapes", *MAY_DIFFER)
        assert changed and all(name.startswith(allowed) for name in changed), changed
        assert after["trainer"]["strategy"] == before["trainer"]["strategy"]
        if run.kind == LMA:
            old, new = (config["data"]["init_args"]["shapes"] for config in (before, after))
            assert [shape["frames"] for shape in new] == [8, 16, 24, 32], "more frames stay more"
            assert [shape["weight"] for shape in new] == [shape["weight"] for shape in old]
        if run.kind == CTD:
            assert after["model"]["init_args"]["encoder"]["downsample_after"] == [1, 2]


def test_what_a_user_sets_is_kept_or_cut_as_it_has_to_be(tmp_path: Path) -> None:
    """Own files from another folder, callbacks, a validation interval, mixed lists, accumulation and nodes."""
    own = tmp_path / "elsewhere" / "mine.yaml"
    own.parent.mkdir()
    saver = {"class_path": "ModelCheckpoint", "init_args": {"dirpath": "/data/kept", "every_n_train_steps": 500}}
    stopper = {"class_path": "EarlyStopping", "init_args": {"monitor": "val/loss", "patience": 7}}
    data = {"train": [{"path": "a.jsonl", "weight": 2}, {"path": "b.jsonl", "weight": 1}], "val": "v.jsonl"}
    trainer = {"callbacks": [saver, stopper], "val_check_interval": 500, "accumulate_grad_batches": 4}
    own.write_text(yaml.safe_dump({"data": {"init_args": data}, "trainer": trainer}))
    changes = [
        "model.clip_sigma=2.5",
        "model.optimizer.lr=1e-3",
        "trainer.gradient_clip_val=0.5",
        "trainer.num_nodes=4",
    ]
    runs = read_runs(["ctd.yaml", GPU8, str(own)], changes, False)
    run = next(run for run in runs if run.kind == CTD)
    _, after = both_configs(run, tmp_path, 2)
    model, trainer = after["model"]["init_args"], after["trainer"]
    assert (model["clip_sigma"], model["optimizer"]["lr"], trainer["gradient_clip_val"]) == (2.5, 1e-3, 0.5)
    kept = [callback["init_args"] for callback in trainer["callbacks"]]
    assert kept[0]["dirpath"] == str(tmp_path / "ctd") and kept[0]["every_n_train_steps"] == 2
    assert (kept[1]["monitor"], kept[1]["patience"]) == ("val/loss", 7)
    assert (trainer["num_nodes"], trainer["devices"], trainer["accumulate_grad_batches"]) == (1, 2, 2)
    assert trainer["val_check_interval"] == 4
    assert [source["weight"] for source in after["data"]["init_args"]["train"]] == [2, 1]
    derived = {run.kind: run for run in runs if not run.given}
    assert derived[EVALUATE].trainer["num_nodes"] == 4, "a change of the machine is of all stages"
    assert derived[LMA].model["optimizer"]["lr"] != 1e-3, "and one of a model of those that were given"


def test_a_size_that_the_command_line_gives_is_given_by_the_rehearsed_one(tmp_path: Path) -> None:
    for changes, told in ((["data.image_size=896"], ("--data.image_size=224",)), ([], ())):
        (run,) = (run for run in read_runs(["eval.yaml", GPU8], changes, False) if run.kind == EVALUATE)
        (step,) = _steps_of(run, Places(tmp_path, {run.model["source"]: small("x", tmp_path)}), 2)
        assert step.words[step.words.index(str(tmp_path / "evaluate-cut.yaml")) + 1 :] == told


def test_shipped_stages_follow_the_given_one(tmp_path: Path) -> None:
    runs = read_runs(["ctd.yaml", GPU8], ["model.teacher=internvl3-1b", "model.block=[8,2,2]"], False)
    cache, ctd, lma, _ = runs
    assert cache.model["teacher"] == lma.model["host"] == ctd.model["teacher"] == "internvl3-1b"
    assert cache.model["block"] == ctd.model["block"] == [8, 2, 2]
    assert all(run.trainer["strategy"] == "ddp" for run in runs)


def test_ctd_runs_beside_an_lma_that_shares_its_weights_out() -> None:
    _, ctd, lma, _ = read_runs(["lma.yaml", FSDP], (), False)
    assert ctd.trainer["strategy"] == "ddp" and ctd.trainer["devices"] == 8
    assert "ModelParallelStrategy" in lma.trainer["strategy"]["class_path"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["model.encoder.output_size=768"], "width of 768, the image encoder's 1024"),
        (["data.image_size=450"], "450"),
        (["model.encoder.downsample_after=[4,13]"], "downsample_after must rise within 0..12"),
        (["data.store=runs/cache/store"], r"data\.store and data\.train are both set"),
        (["model.timm_weights=vit_large_patch14_dinov2.lvd142m"], "num_hidden_layers is 12, the timm model has 24"),
    ],
)
def test_what_fails_at_the_real_size_fails_before_anything_is_cut(changes: list[str], message: str) -> None:
    with pytest.raises(LiteFrameError, match=message):
        rehearse_command(["ctd.yaml", GPU8], set=changes)
    assert os.listdir() == []


@pytest.mark.parametrize("change", ["model.no_such_setting=1", "data.frames=many", "trainer.max_epochs=often"])
def test_what_does_not_parse_fails_as_it_does_on_the_node(change: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["rehearse", "--config", "ctd.yaml", "--config", GPU8, f"--{change}"]) == 2
    assert change.partition("=")[0].rpartition(".")[2] in capsys.readouterr().err


def test_what_cannot_be_rehearsed_is_named(tmp_path: Path) -> None:
    for arguments, message in (
        ({"config": None}, "nothing to rehearse"),
        ({"config": [GPU8]}, "names no stage"),
        ({"config": ["tiny/pretrain_vision.yaml"]}, "VisionPretrainStage cannot be rehearsed"),
        ({"config": ["ctd.yaml"], "set": ["trainer.strategy=fsdp"]}, "runs on GPUs alone"),
        ({"config": ["ctd.yaml", FSDP], "set": ["trainer.devices=4"]}, "data_parallel_size is 8"),
        ({"config": ["ctd.yaml"], "only": ["dance"]}, "--only dance"),
        ({"config": ["lma.yaml"], "only": ["lma"]}, "reads what ctd makes"),
        ({"config": ["ctd.yaml"], "set": ["model.teacher=./not/there"]}, "no model folder './not/there'"),
        ({"config": ["ctd.yaml"], "out": str(tmp_path)}, "exists; give a folder that does not"),
    ):
        with pytest.raises(ConfigError, match=message):
            rehearse_command(**arguments)  # type: ignore[arg-type]


def test_stages_behind_an_encoder_of_another_teacher_are_left_out() -> None:
    siglip = json.dumps({"class_path": "Siglip", "init_args": {"source": "google/siglip2-so400m-patch14-384"}})
    changes = [f"model.teacher={siglip}", "model.saliency=attention_pool"]
    runs = chosen(read_runs(["ctd.yaml", GPU8], changes, False), None)
    assert [run.kind.name for run in runs] == ["cache", "ctd"]
    assert "not on this machine" in str(check_real_size(runs[1]))
    with pytest.raises(ConfigError, match="LMA takes encoders that were distilled from an InternVL"):
        own = Path("siglip.yaml")
        own.write_text(yaml.safe_dump({"model": {"init_args": {"teacher": json.loads(siglip)}}}))
        chosen(read_runs(["ctd.yaml", str(own), "lma.yaml", GPU8], (), False), None)


def test_a_command_that_fails_is_shown_with_its_log(tmp_path: Path) -> None:
    result = run_step(Step("ctd, stopped", ("fit", "--config", "nowhere.yaml")), tmp_path)
    assert not result.went_well and result.code == 1
    text = failure(result)
    assert "liteframe fit --config nowhere.yaml" in text and "config nowhere.yaml: not here" in text
    lost = replace(result, step=replace(result.step, code=1, writes="(after step 2)"))
    assert lost.code == lost.step.code and not lost.went_well, "an error of another kind has the same code"
    slow = run_step(Step("synth", ("synth", str(tmp_path / "world"))), tmp_path, limit_s=0.2)
    assert not slow.went_well and slow.code is None


def test_no_child_outlives_a_command_that_ended_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import subprocess as s; print(s.Popen(['sleep', '600'], stdout=s.DEVNULL, stderr=s.DEVNULL).pid)"
    monkeypatch.setattr(steps, "_liteframe", lambda: [sys.executable, "-c", code])
    result = run_step(Step("leaves a child", ()), tmp_path)
    assert result.went_well
    with suppress(psutil.NoSuchProcess):
        child = psutil.Process(int(result.said))
        for _ in range(1000):  # a signal takes its time
            if child.status() == psutil.STATUS_ZOMBIE:
                return
            time.sleep(0.01)
        child.kill()
        pytest.fail("it still runs")


def test_ctd_on_two_processes_is_stopped_goes_on_and_exports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    forked = SimpleNamespace(Popen=ForkedCommand, DEVNULL=DEVNULL, TimeoutExpired=TimeoutExpired)
    monkeypatch.setattr(steps, "subprocess", forked)
    out = tmp_path / "out"
    changes = ["data.num_workers=0", f"model.teacher={host_folder()}", "model.encoder.output_size=128"]
    assert rehearse_command(["ctd.yaml", GPU8], changes, str(out), processes=2, only=["ctd"]) == 0
    shown = capsys.readouterr().out
    assert "tokenizer and template: its own" in shown and "ended after kill -9 of its last rank" in shown
    assert "last.ckpt (after step 2)" in (out / "logs" / "ctd-a-rank-killed.err").read_text()
    record = TrainingRecord.read(out / "ctd" / "export")
    assert record is not None and record.steps == 4
    assert (out / "ctd" / "checkpoints" / "last.ckpt").is_file()
    # The run's own word on its config, against the table.
    (before,) = (run.settings for run in read_runs(["ctd.yaml", GPU8], changes, False) if run.kind == CTD)
    ran = yaml.safe_load((out / "ctd" / "config.yaml").read_text())
    table = {line.split()[0] for line in shown.partition("\nctd ")[2].partition("\n\n")[0].splitlines()[1:]}
    changed = {name.replace(".init_args", "") for name, _, _ in differences(before, ran) if name != "ckpt_path"}
    assert changed == table


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("configs", [["cache.yaml", "ctd.yaml", "lma.yaml", "eval.yaml", GPU8], ["lma.yaml", FSDP]])
def test_the_whole_recipe_on_eight_processes(tmp_path: Path, configs: list[str]) -> None:
    assert rehearse_command(configs, out=str(tmp_path / "out")) == 0
    assert (tmp_path / "out" / "model" / "config.json").is_file()
