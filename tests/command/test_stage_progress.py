"""A line of progress has the numbers that tell a slow run from a starved one, and the loggers get the same."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger

from liteframe.command import run_rates
from liteframe.command.run_rates import RunRates, as_words
from liteframe.command.stage_progress import StageProgress
from liteframe.data.loading.skips import SkipLedger
from liteframe.system.progress import Meter
from toy_stage import ToyData, ToyStage


def trainer_of(ranks: int, ledger: SkipLedger) -> Any:
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    data = SimpleNamespace(waited_s=2.0, ledger=ledger)
    return SimpleNamespace(world_size=ranks, datamodule=data, strategy=strategy)


def test_rates_are_means_over_the_time_and_skips_those_of_all_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(run_rates.time, "monotonic", lambda: now[0])
    own, other = (SkipLedger(tmp_path / "skipped.jsonl", 10, max_fraction=1.0) for _ in range(2))
    trainer = trainer_of(ranks=2, ledger=own)
    rates = RunRates(trainer, steps=7)
    for batch in ((3, 8), (1, 16)):
        rates.count({"frames_BTCHW": torch.zeros(*batch, 1, 1, 1)})
    rates.count({"skipped": []})
    other.record("a.mp4", "a", "broken")
    now[0], trainer.datamodule.waited_s = 104.0, 3.0
    told = rates.tally(9).rates_since(rates.start)
    assert told == {
        "rate/steps_per_s": 2 / 4,
        "rate/videos_per_s": 2 * (3 + 1) / 4,
        "rate/frames_per_s": 2 * (24 + 16) / 4,
        "rate/data_wait": 1 / 4,
    }
    state = rates.state()
    assert state["rate/skipped"] == 1 and state["memory/peak_gib"] > 0
    words = as_words({**told, **state})
    assert (words["videos/s"], words["frames/s"], words["data_wait"], words["skipped"]) == ("2", "20", "25%", "1")


@pytest.mark.parametrize("verb", ["fit", "test", "predict"])
def test_lines_and_loggers_get_the_numbers(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = CSVLogger(tmp_path, name="", version="")
    trainer = Trainer(
        accelerator="cpu",
        max_steps=6,
        logger=logger,
        callbacks=[StageProgress(every_s=0.05)],
        log_every_n_steps=3,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    getattr(trainer, verb)(ToyStage(slow=0.03), ToyData(samples=12))
    said = capsys.readouterr().err.splitlines()
    lines = [line for line in said if line.startswith(f"{verb} ToyStage: ") and "nothing new" not in line]
    unit = "steps" if verb == "fit" else "batches"
    assert len(lines) >= 2 and f": 6/6 {unit}  " in lines[-1] and "peak_gib" in lines[-1]
    assert "left" in lines[0] and (verb != "fit" or "loss" in lines[0])
    with open(tmp_path / "metrics.csv", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["rate/steps_per_s"]]
    assert all(0 < float(row["rate/steps_per_s"]) < 40 and float(row["memory/peak_gib"]) > 0 for row in rows)
    assert [row["step"] for row in rows] == ["2", "5"] if verb == "fit" else rows[-1]["step"] == "6"


def test_a_run_of_which_nothing_is_heard_says_what_it_is_in_the_middle_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer: Any = SimpleNamespace(
        state=SimpleNamespace(fn=SimpleNamespace(value="fit")), is_global_zero=True, world_size=1
    )
    progress = StageProgress(every_s=0.02)
    progress._open(trainer, ToyStage(), 10, "steps", 4)
    progress.on_train_batch_start()
    deadline, said = time.monotonic() + 20, ""
    while "in a step" not in said and time.monotonic() < deadline:
        time.sleep(0.02)
        said += capsys.readouterr().err
    assert "fit ToyStage: 4/10 steps  nothing new for 0:00, in a step\n" in said
    progress.on_exception(trainer, ToyStage(), RuntimeError())
    capsys.readouterr()
    time.sleep(0.1)
    assert capsys.readouterr().err == ""


def test_a_bar_is_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    with Meter("ctd", 3, stream=stream) as meter:
        meter.still("in a step")
        assert meter.is_bar
    assert "nothing new" not in stream.getvalue()
