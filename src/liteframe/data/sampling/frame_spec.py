"""Which frames a model was made for: what data, chat and processors follow unless they are told otherwise."""

from __future__ import annotations

from dataclasses import dataclass

from liteframe.data.sampling import FrameSampler


@dataclass(frozen=True)
class FrameSpec:
    """The frames that a model was made for, or that a feature store holds; None for what is not known.

    Attributes:
        image_size: height and width in pixels.
        clip_frames: frames that are encoded together.
        sampler: chooses the frames of a video, without chance.
        most_frames: of a video.
    """

    image_size: tuple[int, int] | None = None
    clip_frames: int | None = None
    sampler: FrameSampler | None = None
    most_frames: int | None = None

    def __post_init__(self) -> None:
        # Training may draw frames at random; what is asked afterwards is not to depend on chance.
        if self.sampler is not None and self.sampler.random:
            object.__setattr__(self, "sampler", None)
