"""The one protocol of teachers: frames in, dense tokens on a grid out, frozen; and where each of them comes from."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig
from typing_extensions import Self

from liteframe.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Colour, normalized_for
from liteframe.errors import ConfigError
from liteframe.models.acceleration.frozen_graphs import FrozenGraphs
from liteframe.models.backbone import VisionTokens, joined, saliencies_with
from liteframe.models.teachers.checkpoint import (
    Processor,
    build,
    read_config,
    read_normalization,
    read_tensors,
)
from liteframe.models.teachers.geometry import TeacherGeometry

_TOKENS = tuple(field.name for field in fields(VisionTokens))
_COLOURS = ("num_channels", "in_channels", "in_chans")
"""What configs call the number of an encoder's colours."""
_OF_TRAINING = "drop|initializer"
"""What names of fields hold that matter in training alone."""


class Teacher(nn.Module, ABC):
    """A vision encoder that is read, never trained; frozen by construction.

    Gradients are off, `train()` keeps it in eval mode, and `state_dict` is empty so that it is in no checkpoint.

    Args:
        tower: the encoder; all of its parts are frozen here.
        geometry: what one of its tokens stands for.
        mean, std: of the pixels that it was trained on, on the 0 to 1 scale.
        class_token: whether it gives one.
        pool_query_C: of its attention pooling, see `VisionTokens`; None where it has none.
    """

    frame_wise = True
    """Each frame is encoded on its own, so features of some frames are those of all at their positions."""
    _graphs: FrozenGraphs | None = None

    def __init__(
        self,
        tower: nn.Module,
        geometry: TeacherGeometry,
        mean: Colour = IMAGENET_MEAN,
        std: Colour = IMAGENET_STD,
        class_token: bool = False,
        pool_query_C: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.tower = tower
        self.geometry = geometry
        self.mean, self.std = mean, std
        self.class_token = class_token
        self.pool_query_C: Tensor | None
        self.register_buffer("pool_query_C", pool_query_C, persistent=False)
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def from_pretrained(cls, source: str, attention: str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Reads the vision encoder, and nothing of a language model or text encoder beside it.

        Args:
            source: see the `TeacherSource` of this teacher.
            attention: "eager", "sdpa" or None for the library's choice.
            dtype: of the weights; None is float32, whatever the file's.

        Raises:
            ConfigError: the source is missing, of another family, or lacks or has unexpected weights.
        """
        teacher = cls.read(source, attention)
        return teacher if dtype is None else teacher.to(dtype)

    @classmethod
    @abstractmethod
    def read(cls, source: str, attention: str | None) -> Self:
        """As `from_pretrained`, in float32."""

    @classmethod
    @abstractmethod
    def read_geometry(cls, source: str) -> TeacherGeometry:
        """As `TeacherSource.geometry`."""

    def train(self, mode: bool = True) -> Teacher:
        return super().train(False)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        return {}

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Nothing of a teacher is ever in a checkpoint, so nothing is looked for there."""

    @property
    def hidden_size(self) -> int:
        """Channels of a token."""
        return self.geometry.width

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self.geometry.patch_size

    @property
    def saliencies(self) -> tuple[str, ...]:
        """Names of the importance scores that WAP can weight its tokens by."""
        return saliencies_with(self.class_token, self.pool_query_C is not None)

    @property
    def attention(self) -> str | None:
        """Its attention implementation, "eager" or "sdpa"."""
        config: Any = self.tower.config
        return config._attn_implementation

    def weights_sha256(self) -> str:
        """Hash of the encoder's weights, for the key of a feature store."""
        return weights_sha256(self.tower)

    def describe(self) -> dict[str, Any]:
        """What its features depend on, for the key of a feature store."""
        pixels = {"mean": list(self.mean), "std": list(self.std)}
        return {
            "class": type(self).__name__,
            "weights": self.weights_sha256(),
            "layer": -1,
            "attention": self.attention,
            **({} if (self.mean, self.std) == (IMAGENET_MEAN, IMAGENET_STD) else pixels),
            **({} if self.geometry.clip_frames is None else {"clip_frames": self.geometry.clip_frames}),
        }

    @torch.no_grad()
    def forward(self, frames_BTCHW: Tensor) -> VisionTokens:
        """Dense tokens (B, T, H, W, C) of frames, uint8 or normalised as ImageNet is, and what there is to score
        importance by.

        Raises:
            GeometryError: whole tokens, or whole clips, do not fill the frames; names the nearest sizes that they do.
        """
        batch, frames, _, height, width = frames_BTCHW.shape
        grid = self.geometry.grid(frames, height, width)
        if self._graphs is None:
            return self.encode(normalized_for(frames_BTCHW, self.mean, self.std), grid)
        parts_FCHW = frames_BTCHW.flatten(0, 1).split(self._graphs.batch)
        encoded = joined([VisionTokens(**self._graphs(self._encode_frames, part)) for part in parts_FCHW])
        return encoded.unflatten(batch)

    def freeze_frames(self, frames: int = 1) -> FrozenGraphs:
        """Compiles it with its weights as constants, for so many frames at a time: see `FrozenGraphs`.

        Raises:
            ConfigError: it does not encode each frame on its own.
        """
        if not self.frame_wise:
            raise ConfigError(
                f"engine torch-compile compiles encoders that see one frame at a time, and a {type(self).__name__}"
                f" makes its tokens of {self.geometry.clip_frames or self.geometry.frames} frames together; leave"
                " --engine out"
            )
        self._graphs = FrozenGraphs(frames)
        return self._graphs

    def _encode_frames(self, frames_FCHW: Tensor) -> dict[str, Tensor]:
        """Fields of the `VisionTokens` of frames, as of one video."""
        grid = self.geometry.grid(len(frames_FCHW), *frames_FCHW.shape[2:])
        vision = self.encode(normalized_for(frames_FCHW[None], self.mean, self.std), grid)
        return {name: getattr(vision, name) for name in _TOKENS if getattr(vision, name) is not None}

    @abstractmethod
    def encode(self, frames_BTCHW: Tensor, grid: tuple[int, int, int]) -> VisionTokens:
        """As `forward`, of frames that are normalised as this encoder's own are.

        Args:
            frames_BTCHW: pixels.
            grid: frames, rows and columns of the tokens.
        """


class TransformersTeacher(Teacher):
    """A vision encoder of transformers, in a folder or on the hub: alone, or as a part of a whole model.

    A subclass fills in the class attributes, `geometry_of` and `encode`.

    Args:
        tower: the encoder.
        mean, std: of its pixels; None is the family's own.
        class_token, pool_query_C: see `Teacher`.
    """

    family: ClassVar[str]
    """What errors call it."""
    whole_types: ClassVar[tuple[str, ...]]
    """`model_type` of whole models, whose `vision_config`, if they have one, is the encoder's."""
    towers: ClassVar[Mapping[str, Any]]
    """`model_type` of an encoder -> its class, or what else makes one of its config."""
    prefix: ClassVar[str]
    """Of the encoder's weights in a whole model."""
    inner_prefix: ClassVar[str] = ""
    """What some files have behind `prefix`, or in front of the weights of an encoder alone."""
    other_prefixes: ClassVar[tuple[str, ...]] = ()
    """Of more weights that are read of a whole model, for `parts_of`."""
    pixels: ClassVar[tuple[Colour, Colour]]
    """Mean and standard deviation where the folder has no processor."""
    saliency: ClassVar[str | None] = None
    """Importance score to ask of WAP where it is not the class token's."""
    processor: ClassVar[Processor] = "image_processor"
    """Which of a folder's processors it was trained with."""

    def __init__(
        self,
        tower: nn.Module,
        mean: Colour | None = None,
        std: Colour | None = None,
        class_token: bool = False,
        pool_query_C: Tensor | None = None,
    ) -> None:
        geometry = self.geometry_of(tower.config, "the image encoder")
        mean, std = mean or self.pixels[0], std or self.pixels[1]
        super().__init__(tower, geometry, mean, std, class_token, pool_query_C)

    @classmethod
    def read(cls, source: str, attention: str | None) -> Self:
        whole, config = cls._read_configs(source)
        if whole is not None:
            cls.require_readable(whole, source)
        cls.geometry_of(config, source)
        if attention is not None:
            config._attn_implementation = attention
        tensors = read_tensors(source, ("",) if whole is None else (cls.prefix, *cls.other_prefixes))
        named = {k.removeprefix(cls.prefix): v for k, v in tensors.items() if not k.startswith(cls.other_prefixes)}
        own = {k.removeprefix(cls.inner_prefix): v for k, v in named.items()}
        tower = build(lambda: cls.towers[config.model_type](config), own, source)
        parts = {} if whole is None else cls.parts_of(whole, tensors, source)
        mean, std = cls.read_pixels(source)
        return cls(tower, mean=mean, std=std, **parts)

    def describe(self) -> dict[str, Any]:
        """As `Teacher.describe`, with what the encoder's config says, as not all of it shows in the weights."""
        config: Any = self.tower.config
        return {**super().describe(), "config": _fields_of(config)}

    @classmethod
    def read_geometry(cls, source: str) -> TeacherGeometry:
        return cls.geometry_of(cls._read_configs(source)[1], source)

    @classmethod
    def _read_configs(cls, source: str) -> tuple[Any, Any]:
        config = read_config(source)
        whole, vision_config = cls.split_config(config)
        if vision_config.model_type not in cls.towers:
            if whole is not None:
                raise ConfigError(cls.other_tower(vision_config.model_type, source))
            raise ConfigError(
                f"{source}: model_type {config.model_type!r} is not of the {cls.family} family{_others(config, source)}"
            )
        for name in _COLOURS:
            if getattr(vision_config, name, 3) != 3:
                raise ConfigError(
                    f"{source}: {name} of config.json is {getattr(vision_config, name)}; only encoders of 3 colours can"
                    " be read"
                )
        return whole, vision_config

    @classmethod
    def other_tower(cls, kind: str, source: str) -> str:
        """What to say of a whole model of the family whose encoder is of another kind."""
        return (
            f"{source}: model_type of the vision config is {str(kind)[:60]!r}; of the {cls.family} family, only"
            f" {' and '.join(cls.towers)} can be read"
        )

    @classmethod
    def options(cls, source: str) -> str:
        """What makes a model the teacher of `liteframe fit --config ctd.yaml`."""
        (kind,) = (kind for kind in TeacherSource.__subclasses__() if getattr(kind, "teacher", None) is cls)
        chosen = f"--model.teacher.class_path {kind.__name__} --model.teacher.init_args.source {source}"
        return chosen if cls.saliency is None else f"{chosen} --model.saliency {cls.saliency}"

    @classmethod
    def split_config(cls, config: Any) -> tuple[Any, Any]:
        """The config of the whole model (None for an encoder alone), and that of its vision encoder."""
        whole = config if config.model_type in cls.whole_types else None
        return whole, config if whole is None else getattr(whole, "vision_config", whole)

    @classmethod
    @abstractmethod
    def geometry_of(cls, config: Any, source: str) -> TeacherGeometry:
        """What a token stands for, by the encoder's config. Raises ConfigError, naming `source`, where none can."""

    @classmethod
    def require_readable(cls, whole: Any, source: str) -> None:
        """Raises ConfigError where the config of a whole model asks for what is done otherwise here."""

    @classmethod
    def parts_of(cls, whole: Any, tensors: dict[str, Tensor], source: str) -> dict[str, Any]:
        """What else the constructor takes of a whole model, by its config and weights."""
        return {}

    @classmethod
    def read_pixels(cls, source: str) -> tuple[Colour, Colour]:
        """Mean and standard deviation of the pixels that it was trained on."""
        return read_normalization(source, *cls.pixels, cls.processor)


class TeacherSource(ABC):
    """Where a teacher comes from: what a config names by `class_path`. Subclasses are dataclasses of plain fields."""

    teacher: ClassVar[type[Teacher]]
    source: str

    def geometry(self) -> TeacherGeometry:
        """What a token of the teacher stands for, without reading its weights.

        Raises:
            ConfigError: nothing there, or another kind of model.
        """
        return self.teacher.read_geometry(self.source)

    def load(self, attention: str | None = None) -> Teacher:
        """The teacher with its weights, in float32. See `Teacher.from_pretrained`."""
        return self.teacher.from_pretrained(self.source, attention)


def _others(config: Any, source: str) -> str:
    """Which teacher reads such a whole model, for an error; empty where none does."""
    for kind in TeacherSource.__subclasses__():
        teacher: Any = getattr(kind, "teacher", None)
        if config.model_type in getattr(teacher, "whole_types", ()):
            return f"; set {teacher.options(source)}"
    return ""


def _fields_of(config: PretrainedConfig) -> dict[str, Any]:
    """Fields of an encoder's config that are of its family, without those of training.

    Nested ones are left out: they are of rotary positions, and versions of transformers fill them in differently.
    """
    of_all = PretrainedConfig().to_dict().keys()
    return {
        name: value
        for name, value in config.to_dict().items()
        if name not in of_all and not isinstance(value, Mapping) and not re.search(_OF_TRAINING, name)
    }


def weights_sha256(module: nn.Module) -> str:
    """Hash of all parameters and buffers of a module: names, dtypes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
