"""`trainer.precision: auto` is the fastest where a run begins, and stays that where it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from jsonargparse import Namespace
from lightning.pytorch.utilities import rank_zero_only

from liteframe.command import cli
from liteframe.command.auto_precision import resolve_precision
from liteframe.planning.build import build
from liteframe.system import fast_dtype
from liteframe.system.fast_dtype import CpuRates
from toy_stage import write_toy_config

STAGE = "--model=toy_stage.ToyExporter"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LITEFRAME_PRECISION", "of a first rank that is none of this test's")
    monkeypatch.delenv("LITEFRAME_PRECISION")
    write_toy_config(tmp_path)
    return tmp_path


@pytest.fixture
def bfloat16_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_dtype, "cpu_rates", lambda threads: CpuRates(2.0, 1.0))


def run(*words: str, verb: str = "fit", stage: str = STAGE) -> int:
    more = ["--trainer.max_steps=3", "--trainer.logger=false"] if verb == "fit" else ["--trainer.logger=false"]
    return cli.main([verb, "--config=toy.yaml", stage, *more, "--trainer.precision=auto", *words])


def kept(folder: Path, name: str = "config.yaml") -> str:
    precision: str = yaml.safe_load((folder / name).read_text())["trainer"]["precision"]
    return precision


def test_a_run_says_what_auto_was(here: Path) -> None:
    assert run("--trainer.default_root_dir=run") == 0
    assert kept(here / "run") == "32-true"


def test_a_run_goes_on_as_it_began(here: Path, monkeypatch: pytest.MonkeyPatch, bfloat16_is_fast: None) -> None:
    assert run("--trainer.default_root_dir=run") == 0
    assert kept(here / "run") == "bf16-mixed"
    monkeypatch.setattr(fast_dtype, "cpu_rates", lambda threads: CpuRates(1.0, 2.0))
    for checkpoint in ("last", "run/checkpoints/last.ckpt"):
        assert run("--trainer.default_root_dir=run", "--trainer.max_steps=5", f"--ckpt_path={checkpoint}") == 0
        assert kept(here / "run") == "bf16-mixed"
    assert run("--trainer.default_root_dir=fork", "--ckpt_path=run/checkpoints/last.ckpt") == 0
    assert kept(here / "fork") == "bf16-mixed", "a run that goes on elsewhere"
    assert run("--trainer.default_root_dir=new", "--ckpt_path=auto") == 0
    assert kept(here / "new") == "32-true", "a run that begins"


def test_predict_goes_on_as_it_began(here: Path, monkeypatch: pytest.MonkeyPatch, bfloat16_is_fast: None) -> None:
    """A feature store that is written in two sittings is of one precision, which is part of its key."""
    toy = "--model=toy_stage.ToyStage"
    for rates in (CpuRates(2.0, 1.0), CpuRates(1.0, 2.0)):
        monkeypatch.setattr(fast_dtype, "cpu_rates", lambda threads, rates=rates: rates)
        assert run("--trainer.default_root_dir=run", verb="predict", stage=toy) == 0
        assert kept(here / "run", "config-predict.yaml") == "bf16-mixed"


def test_what_is_given_stays(here: Path, bfloat16_is_fast: None) -> None:
    assert run("--trainer.precision=32-true", "--trainer.default_root_dir=run") == 0
    assert kept(here / "run") == "32-true"


@pytest.mark.parametrize(("supported", "precision"), [(True, "bf16-mixed"), (False, "16-mixed")])
def test_a_gpu_takes_the_half_precision_that_it_has(
    supported: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    config = Namespace(trainer=Namespace(precision="auto", accelerator="gpu", num_nodes=2))
    resolve_precision("fit", config, "nowhere")
    assert config.trainer.precision == precision


def test_ranks_of_another_launcher_are_not_left_to_differ(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--trainer.num_nodes=2") == 1
    assert "give --trainer.precision 32-true or bf16-mixed" in capsys.readouterr().err
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert run() == 1
    assert "give --trainer.precision 32-true or bf16-mixed" in capsys.readouterr().err


def test_ranks_that_the_first_one_starts_do_as_it_does(monkeypatch: pytest.MonkeyPatch, bfloat16_is_fast: None) -> None:
    """They have its environment."""
    first, second = (Namespace(trainer=Namespace(precision="auto", accelerator="cpu", num_nodes=1)) for _ in range(2))
    resolve_precision("fit", first, "nowhere")
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    monkeypatch.setattr(fast_dtype, "cpu_rates", lambda threads: pytest.fail("the second one measures nothing"))
    resolve_precision("fit", second, "nowhere")
    assert first.trainer.precision == second.trainer.precision == "bf16-mixed"


def test_a_plan_is_made_for_what_the_run_would_take(bfloat16_is_fast: None, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = ["trainer.accelerator=cpu", "trainer.precision=auto", "trainer.devices=1"]
    assert build(["ctd.yaml"], changes)[2].autocast
    monkeypatch.setattr(fast_dtype, "cpu_rates", lambda threads: CpuRates(1.0, 2.0))
    assert not build(["ctd.yaml"], changes)[2].autocast
    gpu = ["trainer.accelerator=gpu", "trainer.precision=auto"]
    assert build(["ctd.yaml"], gpu)[2].autocast, "planned on a machine without one"
