"""However a batch is split over ranks and accumulated batches, the real stages train as with the whole of it."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from safetensors.torch import load_file, save_file

from liteframe.data.sources.manifest import read_manifest
from liteframe.stages.ctd import CTDStage
from liteframe.stages.lma import LMAStage, LoraSettings
from liteframe.stages.stage import OptimizerSettings, Stage
from liteframe.tiny.pretrain import HostPretrainStage, TimmPretrainStage
from ranks import run_ranks
from tiny_world import (
    ENCODER,
    WAP_SETTINGS,
    encoder_folder,
    home,
    host_folder,
    make_trainer,
    manifest,
    video_data,
)

STEPS = 2
ENDS = (None, 0.3, 1.0, 0.6)
ANSWERS = ("red", "color of the first triangle green", "left left left", "blue")
OPTIMIZER = OptimizerSettings(lr=1e-2, warmup_fraction=0.0)


@pytest.fixture(scope="module", autouse=True)
def made_before_the_ranks() -> None:
    """Of what is not here yet, each of them would make its own."""
    manifest(), host_folder(), encoder_folder()


class KeepGradients(Callback):
    """Writes down the gradients of each step, and the losses that rank 0 logged at its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_before_optimizer_step(self, trainer: Any, pl_module: Stage, optimizer: Any) -> None:
        if trainer.is_global_zero:
            gradients = {n: p.grad.clone() for n, p in pl_module.named_parameters() if p.grad is not None}
            save_file(gradients, self.folder / f"{trainer.global_step}.safetensors")

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        path = self.folder / f"{trainer.global_step - 1}.json"
        if trainer.is_global_zero and trainer.global_step and not path.exists():
            logged = {n: float(v) for n, v in trainer.callback_metrics.items() if not n.startswith("rate/")}
            path.write_text(json.dumps(logged))


def make_stage(name: str) -> Stage:
    if name.startswith("ctd"):
        sigma = 1.5 if name == "ctd" else None
        return CTDStage(
            ENCODER, str(host_folder()), **WAP_SETTINGS, clip_sigma=sigma, picture_every=0, optimizer=OPTIMIZER
        )
    if name == "vision":
        return TimmPretrainStage(32, 2, 2, OPTIMIZER)
    if name == "pretrain":
        return HostPretrainStage(str(host_folder()), pooled_too=True, attention="eager", optimizer=OPTIMIZER)
    lora = LoraSettings(rank=4, alpha=8, targets=["q_proj", "down_proj"])
    return LMAStage(str(host_folder()), str(encoder_folder()), lora, attention="eager", optimizer=OPTIMIZER)


def train(rank: int, name: str, folder: Path, source: Path, ranks: int, batch: int, accumulate: int) -> None:
    strategy = {"strategy": "ddp", "devices": ranks} if ranks > 1 else {}
    keep = KeepGradients(folder)
    trainer = make_trainer(
        folder,
        max_steps=STEPS,
        callbacks=[keep],
        accumulate_grad_batches=accumulate,
        gradient_clip_val=0.05,
        **strategy,
    )
    videos = {"train": str(source), "frames": 12, "on_error": "skip", "max_skip_fraction": 0.5}
    trainer.fit(make_stage(name), video_data(**videos, batch_size=batch // ranks // accumulate))
    os._exit(0)


def uneven_manifest(folder: Path, broken: int | None = None) -> Path:
    """Four videos of 12, 5, 12 and 10 frames, with answers of 1 to 5 words; one may be no video at all."""
    rows = read_manifest(manifest())[: len(ENDS)]
    lines: list[dict[str, Any]] = [
        {
            "path": row.path,
            "end": end,
            "question": "color of the star",
            "answer": answer,
            "scene": row.extra["scene"],
        }
        for row, end, answer in zip(rows, ENDS, ANSWERS, strict=True)
    ]
    if broken is not None:
        lines = lines[:2]
        (folder / "broken.mp4").write_bytes(b"\0" * 99)
        lines[broken]["path"] = str(folder / "broken.mp4")
    path = folder / "uneven.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


CASES = {
    "ctd": ("ctd", None, 2, 1),
    "lma": ("lma", None, 2, 1),
    "pretrain": ("pretrain", None, 2, 1),
    "vision": ("vision", None, 2, 1),
    "ctd, a rank sees nothing": ("ctd", 1, 2, 1),
    "lma, a rank sees nothing": ("lma", 1, 2, 1),
    "vision, a rank sees nothing": ("vision", 1, 2, 1),
    "ctd accumulated": ("ctd without clipping", None, 1, 4),
    "lma accumulated": ("lma", None, 1, 4),
    "lma in parts": ("lma", None, 1, 2),
    "lma accumulated, the first batch is empty": ("lma", 0, 1, 2),
    "lma accumulated, the last batch is empty": ("lma", 1, 1, 2),
    "ctd accumulated, a batch is empty": ("ctd without clipping", 0, 1, 2),
    "ctd accumulated on two ranks": ("ctd without clipping", None, 2, 2),
    "lma accumulated on two ranks": ("lma", None, 2, 2),
    "pretrain accumulated on two ranks": ("pretrain", None, 2, 2),
    "vision accumulated on two ranks": ("vision", None, 2, 2),
}
"""Stage, broken video, ranks and accumulated batches, to be as one rank with one batch."""


def batch_size(broken: int | None) -> int:
    return 4 if broken is None else 2


@lru_cache
def whole(name: str, broken: int | None) -> Path:
    """What one rank wrote down that took one batch a step: the reference of several cases."""
    folder = home() / "whole" / f"{name}-{broken}"
    folder.mkdir(parents=True)
    source = uneven_manifest(folder, broken)
    assert run_ranks(train, 1, name, folder, source, 1, batch_size(broken), 1) == [0]
    return folder


@pytest.mark.parametrize("case", CASES)
def test_ranks_and_accumulated_batches_have_the_gradients_of_one_batch(case: str, tmp_path: Path) -> None:
    name, broken, ranks, accumulate = CASES[case]
    reference, split = whole(name, broken), tmp_path / "split"
    split.mkdir()
    words = (name, split, uneven_manifest(tmp_path, broken), ranks, batch_size(broken), accumulate)
    assert run_ranks(train, ranks, *words) == [0] * ranks
    for step in range(STEPS):
        one, two = (load_file(folder / f"{step}.safetensors") for folder in (reference, split))
        assert set(one) == set(two)
        largest = max(float(gradient.abs().max()) for gradient in one.values())
        assert largest > 1e-4
        for key in one:
            # Adam makes the second step of tiny gradients one of noise, so the scale is that of all gradients.
            torch.testing.assert_close(two[key], one[key], rtol=1e-4, atol=(1e-6, 1e-3)[step] * largest, msg=key)
        logs = [json.loads((folder / f"{step}.json").read_text()) for folder in (reference, split)]
        assert logs[1] == pytest.approx(logs[0], rel=(1e-5, 1e-3)[step], abs=1e-6), "rank 0 logs the whole step's loss"
    if name == "ctd":
        assert 0 < logs[0]["train/clipped"] < 0.5, "clipping dropped something"
    exports = [load_file(path) for path in sorted(split.rglob("export/**/*.safetensors"))]
    assert exports, "one rank exported"
