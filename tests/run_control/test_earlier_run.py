"""A used run folder is refused before the work begins, by name, unless the run in it goes on."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest

from liteframe.command import cli
from liteframe.run_control.earlier_run import checkpoints_in, first_difference, last_checkpoint
from ranks import run_ranks
from toy_stage import write_toy_config

STAGE = "--model=toy_stage.ToyExporter"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_toy_config(tmp_path)
    return tmp_path


def run(*words: str, verb: str = "fit", folder: str = "run") -> int:
    steps = ["--trainer.max_steps=3"] if verb == "fit" else []
    common = ["--config=toy.yaml", STAGE, "--trainer.logger=false", f"--trainer.default_root_dir={folder}"]
    return cli.main([verb, *common, *steps, *words])


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of an error, which is no traceback."""
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return [line for line in error.splitlines() if line.startswith("liteframe: error: ")][-1]


def content(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_new_run_replaces_neither_checkpoint_nor_export_of_another(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    before = content(here / "run")
    assert {"config.yaml", "checkpoints/last.ckpt", "export/export.txt"} <= {*before}
    assert run("--model.mark=second") == 1
    error = said(capsys)
    assert "run/checkpoints/last.ckpt: of an earlier run" in error
    assert "--ckpt_path last" in error and "--trainer.default_root_dir" in error
    (here / "run/checkpoints/last.ckpt").rename(here / "kept.ckpt")
    assert run("--model.mark=second", "--ckpt_path=kept.ckpt") == 1
    assert "run/export: of an earlier run" in said(capsys)
    (here / "kept.ckpt").rename(here / "run/checkpoints/last.ckpt")
    assert content(here / "run") == before


def test_the_same_run_goes_on_and_keeps_its_earlier_config(here: Path) -> None:
    assert run() == 0
    config = (here / "run/config.yaml").read_text()
    assert run("--ckpt_path=last", "--trainer.max_steps=5", "--model.mark=second") == 0
    assert (here / "run/export/export.txt").read_text() == "second"
    assert (here / "run/config-1.yaml").read_text() == config and "max_steps: 5" in (
        here / "run/config.yaml"
    ).read_text()
    assert run("--ckpt_path=last", "--trainer.max_steps=5", "--model.mark=second") == 0
    assert not (here / "run/config-2.yaml").exists(), "the same config again"


def test_auto_begins_and_goes_on_but_last_needs_a_checkpoint(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("run", "rnu"):
        assert run("--ckpt_path=last", folder=folder) == 1
        error = said(capsys)
        assert f"--ckpt_path last: no checkpoint in {here / folder}" in error and "--trainer.default_root_dir" in error
        assert not (here / folder).exists()
    assert run("--ckpt_path=auto") == 0
    assert "so the run begins anew" in capsys.readouterr().out
    assert run("--ckpt_path=auto", "--trainer.max_steps=5") == 0
    assert "begins anew" not in capsys.readouterr().out


def test_last_is_of_this_run_and_not_of_one_in_a_folder_below(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder="runs/a") == 0
    assert last_checkpoint(here / "runs") is None and checkpoints_in(here / "runs") == []
    assert run("--ckpt_path=last", folder="runs") == 1
    assert "no checkpoint in" in said(capsys)
    assert run(folder="runs") == 0, "a run beside others"


def test_a_run_does_not_go_on_from_one_in_a_folder_below(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("nest", "nest/sub"):
        assert run(folder=folder) == 0
    before = content(here / "nest")
    for path in ("nest/sub/checkpoints/last.ckpt", str(here / "nest/sub/checkpoints/last.ckpt")):
        assert run(f"--ckpt_path={path}", "--trainer.max_steps=5", "--model.mark=second", folder="nest") == 1
        assert "nest/checkpoints/last.ckpt: of an earlier run" in said(capsys)
    assert content(here / "nest") == before
    own = "--ckpt_path=nest/checkpoints/last.ckpt"
    assert run(own, "--trainer.max_steps=5", folder="nest") == 0
    assert run("--ckpt_path=nest/sub/checkpoints/last.ckpt", "--trainer.max_steps=5", folder="nest/sub") == 0


@pytest.mark.parametrize("place", ["run/models", "kept"])
def test_checkpoints_of_others_are_not_the_runs(place: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run folder that is somebody's project, and a folder of checkpoints that others use too."""
    import torch

    (here / place).mkdir(parents=True)
    torch.save({"state_dict": {}, "yolo": 1}, here / place / "yolo.ckpt")
    (here / place / "last-best.ckpt").write_bytes(b"of another program")
    before = content(here / place)
    words = ["--trainer.callbacks.init_args.dirpath=kept"] if place == "kept" else []
    assert run(*words, "--ckpt_path=last") == 1
    assert "no checkpoint in" in said(capsys)
    assert run(*words) == 0
    assert run(*words) == 1
    assert "last.ckpt: of an earlier run" in said(capsys)
    assert run(*words, "--ckpt_path=last", "--trainer.max_steps=5") == 0
    assert before.items() <= content(here / place).items()


def test_what_lightning_wrote_elsewhere_is_a_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    from liteframe.system.checkpoint_io import read_checkpoint

    kept = "--trainer.callbacks.init_args.dirpath=kept"
    assert run(kept) == 0
    torch.save(read_checkpoint(here / "kept/last.ckpt"), here / "kept/last.ckpt")  # without a seal
    assert run(kept) == 1
    assert "kept/last.ckpt: of an earlier run" in said(capsys)


def test_a_damaged_checkpoint_is_no_reason_to_begin_anew(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, folder in (([], "run/checkpoints"), (["--trainer.callbacks.init_args.dirpath=kept"], "kept")):
        run_folder = f"run{'-kept' * bool(words)}"
        assert run(*words, folder=run_folder) == 0
        path = here / folder / "last.ckpt"
        path.write_bytes(path.read_bytes()[:500])
        for given in ("last", "auto"):
            assert run(*words, f"--ckpt_path={given}", folder=run_folder) == 1
            assert "last.ckpt: damaged" in said(capsys)
        assert run(*words, folder=run_folder) == 1
        assert "last.ckpt: of an earlier run" in said(capsys)


def test_another_stage_does_not_go_on_with_a_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    before = content(here / "run")
    assert run("--ckpt_path=last", "--model=toy_stage.ToyStage") == 1
    assert "run: holds a run of toy_stage.ToyExporter, and this is one of toy_stage.ToyStage" in said(capsys)
    assert content(here / "run") == before


def test_a_checkpoint_that_does_not_fit_leaves_the_config(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    from liteframe.system.checkpoint_io import AtomicCheckpointIO, read_checkpoint

    assert run() == 0
    path = here / "run/checkpoints/last.ckpt"
    AtomicCheckpointIO().save_checkpoint({**read_checkpoint(path), "state_dict": {"other": torch.zeros(2)}}, path)
    config = (here / "run/config.yaml").read_text()
    assert run("--ckpt_path=last", "--trainer.max_steps=9") == 1
    assert "the checkpoint lacks 1 of the weights" in said(capsys)
    assert (here / "run/config.yaml").read_text() == config


def test_checkpoints_in_a_folder_of_their_own_are_those_of_the_run(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    apart = "--trainer.callbacks.init_args.dirpath=kept"
    assert run(apart) == 0 and (here / "kept/last.ckpt").is_file() and not (here / "run/checkpoints").exists()
    assert run(apart, folder="other") == 1
    assert "kept/last.ckpt: of an earlier run" in said(capsys)
    assert run(apart, "--ckpt_path=last", "--trainer.max_steps=5") == 0


@pytest.mark.parametrize("logger", ["CSVLogger", "TensorBoardLogger"])
def test_a_logger_elsewhere_takes_no_checkpoints_along(
    logger: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"--trainer.logger={logger}", "--trainer.logger.save_dir=logs", "--trainer.logger.name=x"]
    for saver in ("--trainer.callbacks=null", "--trainer.callbacks.init_args.every_n_train_steps=1"):
        folder = f"run-{saver[-1]}"
        assert run(saver, *words, folder=folder) == 0
        assert (here / folder / "checkpoints/last.ckpt").is_file() and not [*(here / "logs").rglob("*.ckpt")]
        assert run(saver, *words, folder=folder) == 1
        assert f"{folder}/checkpoints/last.ckpt: of an earlier run" in said(capsys)
        assert run(saver, *words, "--ckpt_path=auto", "--trainer.max_steps=5", folder=folder) == 0
        assert "begins anew" not in capsys.readouterr().out
        assert run(saver, *words, "--ckpt_path=last", "--trainer.max_steps=7", folder=folder) == 0


@pytest.mark.parametrize("out", ["mine", "..", ".", "other/export", "run", "run/checkpoints", "run/checkpoints/x"])
def test_model_out_takes_the_place_of_nothing_that_is_there(
    out: str, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(folder="other") == 0
    (here / "mine").mkdir()
    (here / "mine/thesis.tex").write_text("years of work")
    before = content(here)
    monkeypatch.setattr("toy_stage.ToyExporter.training_step", lambda *_: pytest.fail("work was begun"))
    assert run(f"--model.out={out}") == 1
    assert f"{out}: " in said(capsys)
    assert content(here) == before and not (here / "run/checkpoints").exists()


def test_an_export_elsewhere_is_replaced_by_its_own_run_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--model.out=models/a") == 0
    assert run("--model.out=models/a", "--ckpt_path=last", "--trainer.max_steps=4", "--model.mark=second") == 0
    assert (here / "models/a/export.txt").read_text() == "second"
    assert run("--model.out=models/a", "--model.mark=third", folder="new") == 1
    assert "models/a: of an earlier run" in said(capsys)
    assert run(folder="new") == 0
    assert run("--model.out=models/a", "--ckpt_path=last", folder="new") == 1
    assert "models/a: holds what another run exported" in said(capsys)
    assert (here / "models/a/export.txt").read_text() == "second"


def test_an_evaluation_in_a_run_folder_leaves_the_config_and_other_evaluations(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    before = content(here / "run")
    assert run(verb="test") == 0
    after = content(here / "run")
    assert before.items() <= after.items()
    assert {*after} - {*before} == {"config-test.yaml", "evaluation.json", "run-test.json"}
    assert run(verb="test") == 0, "the same evaluation again"
    after = content(here / "run")
    assert run("--model.mark=second", verb="test") == 1
    assert (
        "evaluation.json: of an earlier evaluation with other settings (model.init_args.mark was first, is second)"
        in (said(capsys))
    )
    assert content(here / "run") == after
    assert run(verb="validate") == 1, "nothing to validate"


def test_files_of_others_with_the_names_of_ours_stay(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "run").mkdir()
    for name, verb in (
        ("config.yaml", "fit"),
        ("config-test.yaml", "test"),
        ("evaluation.json", "test"),
        (".lock", "fit"),
    ):
        path = here / "run" / name
        path.write_text("mine: true\n")
        assert run(verb=verb) == 1
        assert name in said(capsys) and path.read_text() == "mine: true\n"
        path.unlink()


def as_torchrun(rank: int, words: list[str]) -> None:
    """The command as a rank that torchrun has started; what it says is left in a file."""
    launched = {"RANK": str(rank), "TORCHELASTIC_RUN_ID": "x", "GROUP_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    os.environ.update(launched)
    with open(f"said{rank}.txt", "w", encoding="utf-8") as sys.stderr:
        code = cli.main(words)
    os._exit(code)


def test_every_rank_says_the_same_and_none_waits(here: Path) -> None:
    """Two ranks that something else has started, so that neither knows of the other's error."""
    assert run() == 0
    before = content(here / "run")
    words = ["fit", "--config=toy.yaml", STAGE, "--trainer.default_root_dir=run", "--trainer.logger=false"]
    assert run_ranks(as_torchrun, 2, [*words, "--trainer.devices=2", "--trainer.strategy=ddp"]) == [1, 1]
    errors = [Path(f"said{rank}.txt").read_text(encoding="utf-8") for rank in range(2)]
    assert all("run/checkpoints/last.ckpt: of an earlier run" in error and "Traceback" not in error for error in errors)
    assert content(here / "run") == before


def test_the_first_difference_is_named() -> None:
    before, now = {"a": {"b": 1, "c": [1]}, "d": 2}, {"a": {"b": 1, "c": [2]}, "d": 3, "e": None}
    assert first_difference(before, now) == "a.c was [1], is [2]"
    assert first_difference(before, before) is None
    assert first_difference({"a": None}, {"a": "x" * 100}) == f"a was None, is {'x' * 60} ..."


def test_a_run_folder_that_is_a_file_is_said_to_be_one(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("afile").touch()
    for folder in ("afile", "afile/run"):
        assert cli.main(["fit", "--config=toy.yaml", f"--trainer.default_root_dir={folder}"]) == 1
        assert f"in {here / 'afile'}, which is a file; give another folder" in capsys.readouterr().err
