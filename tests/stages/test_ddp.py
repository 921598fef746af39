"""Two ranks with half the batch each train as one with the whole, through the real stages and Lightning's DDP."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from safetensors.torch import load_file, save_file

from liteframe.data.manifest import read_manifest
from liteframe.stages.ctd import CTDStage
from liteframe.stages.lma import LMAStage, LoraSettings
from liteframe.stages.stage import OptimizerSettings, Stage
from tiny_world import (
    ENCODER,
    WAP_SETTINGS,
    encoder_folder,
    host_folder,
    make_trainer,
    manifest,
    run_ranks,
    video_data,
)

STEPS = 2
ENDS = (None, 0.3, 1.0, 0.6)
ANSWERS = ("red", "color of the first triangle green", "left left left", "blue")
OPTIMIZER = OptimizerSettings(lr=1e-2, warmup_fraction=0.0)


class KeepGradients(Callback):
    """Writes down the gradients of each step, and the losses that rank 0 logged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_before_optimizer_step(self, trainer: Any, pl_module: Stage, optimizer: Any) -> None:
        if trainer.is_global_zero:
            gradients = {n: p.grad.clone() for n, p in pl_module.named_parameters() if p.grad is not None}
            save_file(gradients, self.folder / f"{trainer.global_step}.safetensors")

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.is_global_zero:
            logged = {n: float(v) for n, v in trainer.callback_metrics.items() if not n.startswith("rate/")}
            (self.folder / f"{trainer.global_step - 1}.json").write_text(json.dumps(logged))


def make_stage(name: str) -> Stage:
    if name == "ctd":
        return CTDStage(
            ENCODER, str(host_folder()), **WAP_SETTINGS, clip_sigma=1.5, picture_every=0, optimizer=OPTIMIZER
        )
    lora = LoraSettings(rank=4, alpha=8, targets=["q_proj", "down_proj"])
    return LMAStage(str(host_folder()), str(encoder_folder()), lora, attention="eager", optimizer=OPTIMIZER)


def train(rank: int, name: str, folder: Path, source: Path, ranks: int, batch: int) -> None:
    strategy = {"strategy": "ddp", "devices": ranks} if ranks > 1 else {}
    keep = KeepGradients(folder)
    trainer = make_trainer(folder, max_steps=STEPS, callbacks=[keep], **strategy)
    videos = {"train": str(source), "frames": 12, "on_error": "skip", "max_skip_fraction": 0.5}
    trainer.fit(make_stage(name), video_data(**videos, batch_size=batch // ranks))
    os._exit(0)


def uneven_manifest(folder: Path, broken: int | None = None) -> Path:
    """Four videos of 12, 5, 12 and 10 frames, with answers of 1 to 5 words; one may be no video at all."""
    rows = read_manifest(manifest())[: len(ENDS)]
    lines: list[dict[str, Any]] = [
        {"path": row.path, "end": end, "question": "color of the star", "answer": answer}
        for row, end, answer in zip(rows, ENDS, ANSWERS, strict=True)
    ]
    if broken is not None:
        lines = lines[:2]
        (folder / "broken.mp4").write_bytes(b"\0" * 99)
        lines[broken]["path"] = str(folder / "broken.mp4")
    path = folder / "uneven.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("broken", [False, True], ids=["uneven", "a rank sees nothing"])
@pytest.mark.parametrize("name", ["ctd", "lma"])
def test_two_ranks_have_the_gradients_of_one(name: str, broken: bool, tmp_path: Path) -> None:
    source = uneven_manifest(tmp_path, 1 if broken else None)
    batch = 2 if broken else 4
    for ranks in (1, 2):
        (tmp_path / str(ranks)).mkdir()
        assert run_ranks(train, ranks, name, tmp_path / str(ranks), source, ranks, batch) == [0] * ranks
    for step in range(STEPS):
        one, two = (load_file(tmp_path / ranks / f"{step}.safetensors") for ranks in ("1", "2"))
        assert set(one) == set(two)
        largest = max(float(gradient.abs().max()) for gradient in one.values())
        assert largest > 1e-4
        for key in one:
            # Adam makes the second step of tiny gradients one of noise, so the scale is that of all gradients.
            torch.testing.assert_close(two[key], one[key], rtol=1e-4, atol=(1e-6, 1e-3)[step] * largest, msg=key)
        logs = [json.loads((tmp_path / ranks / f"{step}.json").read_text()) for ranks in ("1", "2")]
        assert logs[1] == pytest.approx(logs[0], rel=(1e-5, 1e-3)[step], abs=1e-6), "rank 0 logs the global loss"
    if name == "ctd":
        assert 0 < logs[0]["train/dropped"] < 0.5, "clipping dropped something"
    exports = [load_file(path) for path in sorted((tmp_path / "2").rglob("export/**/*.safetensors"))]
    assert exports, "one rank exported"
