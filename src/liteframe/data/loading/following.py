"""Frames as a model or a feature store has them, wherever the settings do not say otherwise."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from liteframe.data.loading.dataset import ClipSettings
from liteframe.data.sampling import FrameSampler
from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.data.store.key import StoreKey


@dataclass(frozen=True)
class Difference:
    """A setting that is not what a model was made for.

    Attributes:
        name: of the setting.
        own, made_for: its value and the model's, as a user writes them.
        advice: how to follow the model.
    """

    name: str
    own: str
    made_for: str
    advice: str = ""

    def message(self, source: str) -> str:
        """A line for the user.

        Args:
            source: folder or hub id of the model.
        """
        return f"liteframe: data.{self.name} is {self.own}, but {source} was made for {self.made_for}{self.advice}"


@dataclass(frozen=True)
class Followed:
    """The settings that follow a model, and the differences that remain."""

    settings: ClipSettings
    sampler: FrameSampler
    differences: list[Difference]


def follow(
    spec: FrameSpec, settings: ClipSettings, sampler: FrameSampler, frames: int, given: Collection[str]
) -> Followed:
    """Takes from `spec` what was not given.

    A setting that was given otherwise stays, and so do more frames than `spec` has: both are differences. Clips are
    the same where they are whole clips of the model.

    Args:
        spec: the frames that a model was made for.
        settings, sampler, frames: of the data, before.
        given: names of the settings that were given.
    """
    own: dict[str, Any] = {
        "sampler": sampler,
        "image_size": settings.image_size,
        "clip_frames": settings.clip_frames,
    }
    made_for = {name: value for name in own if (value := getattr(spec, name)) is not None}
    differences = [
        Difference(name, in_words(own[name]), in_words(value), f"; leave data.{name} out to follow it")
        for name, value in made_for.items()
        if name in given and not (own[name] % value == 0 if name == "clip_frames" else own[name] == value)
    ]
    if spec.most_frames is not None and frames > spec.most_frames:
        differences.append(Difference("frames", str(frames), f"at most {spec.most_frames}"))
    own |= {name: value for name, value in made_for.items() if name not in given}
    settings = replace(settings, image_size=own["image_size"], clip_frames=own["clip_frames"])
    return Followed(settings, own["sampler"], differences)


def frames_of_store(key: StoreKey) -> FrameSpec:
    """The frames that a feature store holds; None for what its key does not say, or says in a way that is refused."""
    frames = key.sampling.get("frames")
    most = frames if type(frames) is int and frames > 0 else None
    return FrameSpec(_size_of(key.geometry.get("image_size")), key.clip_frames, None, most)


def _size_of(stored: Any) -> tuple[int, int] | None:
    sides = stored if isinstance(stored, list) else [stored, stored]
    if len(sides) != 2 or not all(type(side) is int and 1 <= side <= 65_536 for side in sides):
        return None
    return sides[0], sides[1]


def in_words(value: Any) -> str:
    """A setting as a user writes it: an image size as height x width, a sampler by its name and settings."""
    return f"{value[0]} x {value[1]}" if isinstance(value, tuple) else str(value)
