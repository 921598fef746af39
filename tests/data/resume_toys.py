"""A LightningModule that writes down what it is given, and a decoder without files, for the tests of resuming."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from liteframe.data.decoding.decode import VideoInfo
from liteframe.data.decoding.processes.job import DecodeJob, VideoFrames


class FakePool:
    """Videos of 40 frames whose pixels tell path and frame."""

    processes = 1

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def run(self, jobs: Sequence[DecodeJob]) -> list[VideoFrames]:
        out = []
        for job in jobs:
            indices = job.sampler.indices(40, job.num_frames, 10.0, np.random.default_rng(job.seed), job.row)
            value = sum(job.path.encode()) % 100
            frames = np.broadcast_to((value + indices)[:, None, None, None], (len(indices), 8, 8, 3)).astype(np.uint8)
            out.append(VideoFrames(frames, indices, VideoInfo(job.path, "none", 8, 8, 10.0, 40, 4.0, 0, "none"), 0.0))
        return out

    def close(self) -> None:
        pass


class Recorder(LightningModule):
    """Trains one weight per channel on what it sees, so that the weights depend on every batch so far."""

    def __init__(self, stop_after: int | None = None, asks_for_length: bool = False) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(3))
        self.stop_after, self.asks_for_length = stop_after, asks_for_length
        self.seen: list[Any] = []
        self.validated: list[str] = []
        self.tested: list[str] = []
        self.predicted: list[str] = []

    def configure_optimizers(self) -> Any:
        if self.asks_for_length:
            assert self.trainer.estimated_stepping_batches > 0
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        if len(self.seen) == self.stop_after:
            raise KeyboardInterrupt
        frames = batch["frames_BTCHW"]
        self.seen.append(
            (
                self.current_epoch,
                batch_idx,
                batch["sample_ids"],
                batch["frame_indices_BT"].tolist(),
                float(frames.sum()),
            )
        )
        return (frames.float().mean((0, 1, 3, 4)) * self.weight).sum() + self.weight.square().sum()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.validated += batch["sample_ids"]

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.tested += batch["sample_ids"]

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.predicted += batch.get("sample_ids", [])


def make_trainer(folder: Path, **settings: Any) -> Trainer:
    """A quiet trainer that keeps a checkpoint of every step."""
    keep = ModelCheckpoint(folder / "kept", filename="{step}", every_n_train_steps=1, save_top_k=-1)
    quiet: dict[str, Any] = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
        "default_root_dir": folder,
        "callbacks": [keep],
    }
    return Trainer(**{**quiet, **settings})
