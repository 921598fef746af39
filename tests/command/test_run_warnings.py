"""Warnings that matter come through, each as one line; those about nothing do not."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from liteframe.command import cli, run_warnings
from liteframe.command.library_warnings import in_clear_words, quieten
from liteframe.command.run_warnings import RunWarnings, advice
from toy_stage import write_toy_config

WAITING = "of the time goes into waiting for videos"


@pytest.fixture
def fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(tmp_path)
    write_toy_config(tmp_path)

    def run(*words: str, steps: bool = True) -> list[str]:
        limit = ["--trainer.max_steps=4"] if steps else ["--trainer.max_steps=-1", "--trainer.limit_train_batches=0"]
        common = ["--config=toy.yaml", "--trainer.default_root_dir=run", *limit, "--trainer.log_every_n_steps=2"]
        cli.main(["fit", *common, *words])
        error = capsys.readouterr().err
        return [line for line in error.splitlines() if line.startswith("liteframe: warning: ")]

    return run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--trainer.enable_checkpointing=false", "--trainer.callbacks=null"], "no checkpoint is kept"),
        (["--trainer.callbacks.init_args.save_last=false"], "no `last.ckpt` is kept"),
        (["--trainer.log_every_n_steps=50"], "this run does 4 steps, so no loss of training is logged"),
        (["--trainer.precision=16-mixed"], "trainer.precision 16-mixed does not run on a CPU; bf16-mixed is taken"),
        (["--data.init_args.validate=true", "--trainer.limit_val_batches=0"], "nothing is validated"),
    ],
)
def test_what_a_run_lacks_is_one_line(fit: Any, words: list[str], said: str) -> None:
    assert not [line for line in fit("--data.init_args.validate=true") if said in line]
    assert len([line for line in fit("--trainer.default_root_dir=other", *words) if said in line]) == 1


def test_no_validation_is_said(fit: Any) -> None:
    assert fit() == [
        "liteframe: warning: data.val is not set, so nothing is validated, and nobody sees whether the run learns what"
        " it should"
    ]


def test_a_run_without_an_end_is_said(fit: Any) -> None:
    assert any("so the run goes through its data 1000 times" in line for line in fit(steps=False))


def test_logs_that_are_deleted_and_checkpoints_beside_others_are_said(fit: Any, tmp_path: Path) -> None:
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    (tmp_path / "run/checkpoints/notes.txt").touch()
    kept = ["--trainer.callbacks.init_args.save_top_k=-1"]
    (tmp_path / "run/logs/a").mkdir(parents=True)
    (tmp_path / "run/logs/a/metrics.csv").write_text("step\n", encoding="utf-8")
    logger = {"save_dir": "run", "name": "logs", "version": "a"}
    logs = ["--trainer.logger=CSVLogger", *(f"--trainer.logger.{name}={value}" for name, value in logger.items())]
    said = fit(*kept, *logs)
    assert any("checkpoints: holds files already" in line for line in said)
    assert any("run/logs/a: holds logs of an earlier run, which trainer.logger deletes" in line for line in said)


@pytest.mark.parametrize(
    "text",
    [
        "`max_epochs` was not set. Setting it to 1000 epochs. To train without an epoch limit, set `max_epochs=-1`.",
        "GPU available but not used. You can set it by doing `Trainer(accelerator='gpu')`.",
        "Checkpoint directory runs/a exists and is not empty.",
        "a library's\n  own words",
    ],
)
def test_words_of_libraries_are_one_line_and_ours_where_theirs_are_unclear(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        quieten()
        warnings.warn(text, UserWarning, stacklevel=1)
    said = capsys.readouterr().err
    assert said == f"liteframe: warning: {in_clear_words(text)}\n" and said.count("\n") == 1
    assert ("library" in said) == ("library" in text) and "Trainer(" not in said


def test_waiting_for_videos_is_said_once_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(run_warnings.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(run_warnings, "usable_cores", lambda: 16)
    for share, said in ((0.2, 0), (0.5, 1)):
        data = SimpleNamespace(waited_s=0.0, num_workers=2, decode_processes=1)
        trainer: Any = SimpleNamespace(datamodule=data, is_global_zero=True, num_devices=4)
        callback = RunWarnings(look_s=60)
        for step in range(200):
            now[0] += 1.0
            data.waited_s += 1.0 if step < 3 else share
            callback.on_train_batch_end(trainer)
        error = capsys.readouterr().err
        assert error.count(WAITING) == said
    assert "50% of the time" in error and "raise data.num_workers, which is 2 (8 processes decode" in error
    assert "all 16 cores decode already" in advice(SimpleNamespace(num_workers=4, decode_processes=1), 4)  # type: ignore[arg-type]
