"""The data of a stage follow the frames that its model was made for."""

from __future__ import annotations

from lightning.pytorch import LightningModule

from liteframe.data.datamodule import VideoDataModule
from liteframe.data.sampling.frame_spec import FrameSpec


def follow_frames(stage: LightningModule, frames: FrameSpec, source: str) -> tuple[int, int] | None:
    """Lets the data of a stage follow `frames`, see `VideoDataModule.follow`; to be called from `configure_model`.

    Args:
        stage: whose data they are.
        frames: that its model was made for.
        source: folder or hub id of the model, for messages.

    Returns:
        Height and width of the frames that will come; None where the stage does not run on a `VideoDataModule`.
    """
    trainer = stage._trainer
    data = None if trainer is None else trainer.datamodule  # type: ignore[attr-defined]
    return data.follow(frames, source).image_size if isinstance(data, VideoDataModule) else None
