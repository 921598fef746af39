"""Every training stage, killed inside an epoch and started again, exports the bytes of a straight run."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from liteframe.data.loading.batching import BatchShape
from liteframe.data.sampling import KeyFrames
from liteframe.errors import ConfigError
from liteframe.stages.ctd import CTDStage
from liteframe.stages.lma import LMAStage, LoraSettings
from liteframe.stages.stage import OptimizerSettings, Stage
from liteframe.system.checkpoint_io import AtomicCheckpointIO
from liteframe.tiny.pretrain import HostPretrainStage, VisionPretrainStage
from ranks import run_ranks
from tiny_world import (
    ENCODER,
    WAP_SETTINGS,
    encoder_folder,
    home,
    host_folder,
    make_trainer,
    manifest,
    sha256_of,
    store_folder,
    video_data,
)

STEPS, KILLED_AT, EVERY = 6, 5, 2
OPTIMIZER = OptimizerSettings(lr=1e-3)
STAGES = ("vision", "host", "ctd", "ctd on the fly", "lma")


def make(name: str, **settings: Any) -> tuple[Stage, dict[str, Any]]:
    """A stage with all its chance in use, and its data; three batches an epoch."""
    live = {"train": str(manifest()), "batch_size": 3}
    if name == "vision":
        return VisionPretrainStage(OPTIMIZER, **settings), {**live, "frames": 4, "train_sampler": KeyFrames()}
    if name == "host":
        shapes = [BatchShape(4, 3), BatchShape(8, 2, sampler=KeyFrames())]
        module = HostPretrainStage(
            str(host_folder()),
            pooled_too=True,
            longest_video=16,
            gapless_types=["motion"],
            questions_per_video=2,
            attention="eager",
            optimizer=OPTIMIZER,
        )
        return module, {"train": str(manifest()), "shapes": shapes}
    if name == "lma":
        lora = LoraSettings(rank=4, targets=["q_proj"])
        return LMAStage(
            str(host_folder()),
            str(encoder_folder()),
            lora,
            attention="eager",
            questions_per_video=2,
            optimizer=OPTIMIZER,
            **settings,
        ), live
    common = {"picture_every": 0, "optimizer": OPTIMIZER, "standardise": True, **WAP_SETTINGS, **settings}
    if name == "ctd":
        return CTDStage(ENCODER, **common), {"store": str(store_folder()), "batch_size": 3}
    return CTDStage(ENCODER, str(host_folder()), **common, statistics=str(store_folder())), live


class Kill(Callback):
    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == KILLED_AT:
            os.kill(os.getpid(), signal.SIGKILL)


def fit(folder: Path, name: str, *more: Callback, ckpt_path: str | None = None, **settings: Any) -> None:
    last = ModelCheckpoint(save_last=True, save_top_k=0, every_n_train_steps=EVERY, enable_version_counter=False)
    module, videos = make(name, **settings)
    trainer = make_trainer(
        folder,
        max_steps=STEPS,
        max_epochs=-1,
        gradient_clip_val=1.0,
        precision="bf16-mixed",
        enable_checkpointing=True,
        callbacks=[last, *more],
        plugins=[AtomicCheckpointIO()],
    )
    trainer.fit(module, video_data(**videos), ckpt_path=ckpt_path, weights_only=True)


@cache
def straight(name: str) -> Path:
    """Folder of a run that is left alone."""
    folder = home() / "straight" / name
    fit(folder, name)
    return folder


def killed(rank: int, folder: Path, name: str) -> None:
    fit(folder, name, Kill())


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums depend on how threads share them out, and a forked rank has one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", STAGES)
def test_a_killed_run_ends_as_a_straight_one(name: str, tmp_path: Path) -> None:
    whole = straight(name)  # which makes here what it reads, and not anew in the process that is killed
    assert run_ranks(killed, 1, tmp_path / "killed", name) == [-signal.SIGKILL]
    assert not (tmp_path / "killed" / "export").exists()
    steps = {
        path.name: torch.load(path, weights_only=True)["global_step"] for path in (tmp_path / "killed").rglob("*.ckpt")
    }
    assert steps == {"last.ckpt": 4, "previous.ckpt": 2}, "two steps were lost, inside the second epoch"
    fit(tmp_path / "killed", name, ckpt_path="last")
    assert sha256_of(tmp_path / "killed" / "export") == sha256_of(whole / "export")


@pytest.mark.parametrize("name", STAGES)
def test_a_checkpoint_holds_what_is_trained_and_nothing_else(name: str) -> None:
    (path,) = straight(name).rglob("last.ckpt")
    kept = torch.load(path, weights_only=True)["state_dict"]
    module, _ = make(name)
    if name == "lma" or name == "host":
        module.configure_model()
    trained = {key: value for key, value in module.named_parameters() if value.requires_grad}
    assert set(kept) == set(trained)
    assert all(kept[key].shape == trained[key].shape for key in kept)
    prefixes = {
        "vision": ("vision_tower.", "object_head.", "place_head."),
        "host": ("model.projector.", "model.language_model."),
        "lma": ("model.backbone.encoder.", "model.projector.", "model.language_model."),
    }.get(name, ("encoder.",))
    assert all(key.startswith(prefixes) for key in kept)
    if name == "lma":
        assert all("lora_" in key for key in kept if "language_model" in key)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    shutil.copytree(straight("lma"), tmp_path / "lma")
    with pytest.raises(ConfigError, match=r"has unexpected 6 of the weights.*projector"):
        fit(tmp_path / "lma", "lma", ckpt_path="last", train_projector=False)


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    fit(tmp_path, "ctd", seed=1)
    assert sha256_of(straight("ctd") / "export") != sha256_of(tmp_path / "export")
