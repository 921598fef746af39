"""LMA with its weights shared out is saved, goes on and exports as LMA on whole copies does."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy, Strategy
from safetensors.torch import load_file

from liteframe.errors import ConfigError
from liteframe.stages.lma import LMAStage, LoraSettings
from liteframe.stages.stage import OptimizerSettings
from liteframe.system.checkpoint_io import AtomicCheckpointIO, read_checkpoint
from ranks import run_ranks
from tiny_world import encoder_folder, host_folder, make_trainer, manifest, video_data

STEPS, AT = 4, 2
SHARDED, COPIES = "sharded", "copies"


def train(rank: int, strategy: str, folder: Path, go_on_from: Path | None) -> None:
    sharded = ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1, save_distributed_checkpoint=False)
    keep = ModelCheckpoint(folder / "kept", filename="{step}", every_n_train_steps=1, save_top_k=-1)
    trainer = make_trainer(
        folder,
        devices=2,
        strategy=sharded if strategy == SHARDED else "ddp",
        max_steps=STEPS,
        callbacks=[keep],
        enable_checkpointing=True,
        gradient_clip_val=0.05,
    )
    trainer.strategy.checkpoint_io = AtomicCheckpointIO()
    lora = LoraSettings(rank=4, alpha=8, targets=["q_proj", "down_proj"])
    rates = OptimizerSettings(lr=1e-3, warmup_fraction=0.0)
    stage = LMAStage(str(host_folder()), str(encoder_folder()), lora, attention="eager", optimizer=rates)
    trainer.fit(stage, video_data(train=str(manifest()), batch_size=2), ckpt_path=go_on_from)
    os._exit(0)


def exported(folder: Path) -> dict[str, torch.Tensor]:
    files = sorted((folder / "export").rglob("*.safetensors"))
    return {f"{file.name} {name}": value for file in files for name, value in load_file(file).items()}


def kept(folder: Path, step: int = AT) -> Path:
    return folder / "kept" / f"step={step}.ckpt"


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Run folders of both ways, left alone."""
    manifest(), host_folder(), encoder_folder()
    folders = {strategy: tmp_path_factory.mktemp(strategy) for strategy in (SHARDED, COPIES)}
    for strategy, folder in folders.items():
        assert run_ranks(train, 2, strategy, folder, None) == [0, 0]
    return folders


def test_both_save_and_export_the_same(straight: dict[str, Path]) -> None:
    sharded, copies = (read_checkpoint(kept(straight[strategy])) for strategy in (SHARDED, COPIES))
    assert sharded["state_dict"].keys() == copies["state_dict"].keys()
    for name, weight in copies["state_dict"].items():
        torch.testing.assert_close(sharded["state_dict"][name], weight, rtol=1e-3, atol=1e-4, msg=name)
    assert sharded["loops"] == copies["loops"] and sharded["global_step"] == copies["global_step"] == AT
    ours, theirs = exported(straight[SHARDED]), exported(straight[COPIES])
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize(("saved_by", "goes_on"), [(SHARDED, SHARDED), (SHARDED, COPIES), (COPIES, SHARDED)])
def test_a_checkpoint_of_either_is_gone_on_from(
    saved_by: str, goes_on: str, straight: dict[str, Path], tmp_path: Path
) -> None:
    assert run_ranks(train, 2, goes_on, tmp_path, kept(straight[saved_by])) == [0, 0]
    resumed, whole = exported(tmp_path), exported(straight[goes_on])
    assert resumed.keys() == whole.keys()
    exact = saved_by == goes_on
    for name, weight in whole.items():
        tolerance = {"rtol": 0.0, "atol": 0.0} if exact else {"rtol": 1e-3, "atol": 1e-4}
        torch.testing.assert_close(resumed[name], weight, **tolerance, msg=name)


@pytest.mark.parametrize(
    ("strategy", "setting"),
    [
        (ModelParallelStrategy(2, 1), "save_distributed_checkpoint to false"),
        (FSDPStrategy(state_dict_type="sharded"), "state_dict_type to full"),
    ],
)
def test_checkpoints_in_parts_are_refused(strategy: Strategy, setting: str) -> None:
    stage = LMAStage(str(host_folder()), str(encoder_folder()), LoraSettings(rank=4, alpha=8))
    stage._trainer = SimpleNamespace(strategy=strategy)  # type: ignore[assignment]
    with pytest.raises(ConfigError, match=setting):
        stage.prepare_data()
