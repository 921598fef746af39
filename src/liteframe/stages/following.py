"""The data of a stage follow the frames that its model was made for."""

from __future__ import annotations

from lightning.pytorch import LightningModule

from liteframe.data.datamodule import VideoDataModule
from liteframe.data.loading.following import in_words
from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.errors import ConfigError


def follow_frames(stage: LightningModule, frames: FrameSpec, source: str) -> tuple[int, int] | None:
    """Lets the data of a stage follow `frames`, see `VideoDataModule.follow`; to be called from `configure_model`.

    Args:
        stage: whose data they are.
        frames: that its model was made for.
        source: folder or hub id of the model, for messages.

    Returns:
        Height and width of the frames that will come; None where the stage does not run on a `VideoDataModule`.
    """
    data = _data_of(stage)
    return None if data is None else data.follow(frames, source).image_size


def require_size_told(stage: LightningModule, frames: FrameSpec, source: str) -> None:
    """Refuses frames of another size than the model was made for, unless this very run was told to show it such.

    A size in a config's file may be meant for another model, or stem from a run of another.

    Args:
        stage, frames, source: as of `follow_frames`.

    Raises:
        ConfigError: names both sizes.
    """
    data = _data_of(stage)
    if data is None or "image_size" not in data.given or "image_size" in data.told:
        return
    height, width = size = data.settings.image_size
    if frames.image_size not in (None, size):
        raise ConfigError(
            f"data.image_size is {in_words(size)}, but {source} was made for {in_words(frames.image_size)}; leave it"
            f" out, or, to ask the model at {in_words(size)} all the same, end the command with --data.image_size"
            f" {height if height == width else f'[{height},{width}]'}"
        )


def _data_of(stage: LightningModule) -> VideoDataModule | None:
    data = None if stage._trainer is None else stage._trainer.datamodule  # type: ignore[attr-defined]
    return data if isinstance(data, VideoDataModule) else None
