"""The questions of a finished run: its held-out videos, as batches for every method."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from liteframe.data.datamodule import VideoDataModule
from liteframe.errors import ConfigError
from liteframe.models.video_llm.answering_model import AnsweringModel
from liteframe.models.video_llm.model import VideoLLM
from liteframe.system.progress import track


def videos_for(models: Mapping[str, AnsweringModel], manifest: Path, frames: int, batch_size: int) -> VideoDataModule:
    """The videos of a manifest as test data, at the one size that all models were made for.

    Args:
        models: by their names.
        manifest: of the videos.
        frames: of a video.
        batch_size: videos that are answered at a time.

    Raises:
        ConfigError: two of the models were made for frames of different sizes.
    """
    sizes = {name: _image_size(model) for name, model in models.items()}
    (first, size), *others = sizes.items()
    if odd := [name for name, other in others if other != size]:
        raise ConfigError(
            f"{odd[0]} was made for frames of {sizes[odd[0]]}, {first} for {size}; compare models of one size"
        )
    return VideoDataModule(test=str(manifest), image_size=size, frames=frames, batch_size=batch_size, num_workers=1)


def sizes_asked(data: VideoDataModule, models: Mapping[str, AnsweringModel]) -> dict[str, list[int]]:
    """For a record, height and width in pixels: ``image_size`` of the frames, and ``image_size_made_for``."""
    (made_for,) = {_image_size(model) for model in models.values()}
    return {"image_size": list(data.settings.image_size), "image_size_made_for": list(made_for)}


def _image_size(model: AnsweringModel) -> tuple[int, int]:
    """Height and width in pixels; of an export those of its training."""
    inner: Any = getattr(model, "inner", model)
    backbone: Any = model.backbone
    size: tuple[int, int] | None = inner.frames.image_size if isinstance(inner, VideoLLM) else None
    return backbone.image_size if size is None else size


def question_batches(data: VideoDataModule, name: str) -> Generator[dict[str, Any], None, None]:
    """Batches of all test videos, with progress under that name; whoever takes only some closes it."""
    loader = data.loader("test")
    try:
        yield from track(loader, name)
    finally:
        loader.close()
