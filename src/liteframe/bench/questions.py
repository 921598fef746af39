"""The questions of a finished run: its held-out videos, as batches for every arm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from liteframe.data.datamodule import VideoDataModule
from liteframe.errors import ConfigError
from liteframe.models.answering_model import AnsweringModel
from liteframe.progress import track


def manifest_of_run(run: Path, split: str) -> Path:
    """The manifest of a split of the run's world. Raises ConfigError if there is none."""
    manifest = run / "world" / f"{split}.jsonl"
    if not manifest.is_file():
        raise ConfigError(f"{manifest} is missing; run the pipeline first (`liteframe pipeline tiny`)")
    return manifest


def videos_for(teacher: AnsweringModel, manifest: Path, frames: int, batch_size: int) -> VideoDataModule:
    """The videos of a manifest as test data, at the size that the teacher reads."""
    backbone: Any = teacher.backbone
    return VideoDataModule(
        test=str(manifest), image_size=backbone.image_size, frames=frames, batch_size=batch_size, num_workers=1
    )


def question_batches(data: VideoDataModule, name: str) -> Iterator[dict[str, Any]]:
    """Normalised batches of all test videos, with progress under that name."""
    loader = data.loader("test")
    for batch in track(loader, name):
        yield data.on_after_batch_transfer(batch, 0)
    loader.close()
