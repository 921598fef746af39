"""The one protocol of teachers: frames in, dense tokens on a grid out, frozen; and where each of them comes from."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from liteframe.data.transforms import IMAGENET_MEAN, IMAGENET_STD, renormalize
from liteframe.models.backbone import VisionTokens, saliencies_with
from liteframe.models.teachers.checkpoint import Colour
from liteframe.models.teachers.geometry import TeacherGeometry


class Teacher(nn.Module, ABC):
    """A vision encoder that is read, never trained; frozen by construction.

    Gradients are off, `train()` keeps it in eval mode, and `state_dict` is empty so that it is in no checkpoint.

    Args:
        tower: the encoder; all of its parts are frozen here.
        geometry: what one of its tokens stands for.
        mean, std: of the pixels that it was trained on, on the 0 to 1 scale. Frames come normalised as ImageNet is, and
            are converted where that differs.
        class_token: whether it gives one.
        pool_query_C: of its attention pooling, see `VisionTokens`; None where it has none.
    """

    frame_wise = True
    """Each frame is encoded on its own, so features of some frames are those of all at their places."""

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
        """Names of the saliencies that WAP can weigh its tokens by."""
        return saliencies_with(self.class_token, self.pool_query_C is not None)

    @property
    def attention(self) -> str | None:
        """Kernel of its attention, "eager" or "sdpa"."""
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
        }

    @torch.no_grad()
    def forward(self, frames_BTCHW: Tensor) -> VisionTokens:
        """Dense tokens (B, T, H, W, C) of frames that are normalised as ImageNet is, and what there is of saliency.

        Raises:
            GeometryError: whole tokens do not fill the frames; names the nearest sizes that they do.
        """
        _, frames, _, height, width = frames_BTCHW.shape
        grid = self.geometry.grid(frames, height, width)
        return self.encode(renormalize(frames_BTCHW, self.mean, self.std), grid)

    @abstractmethod
    def encode(self, frames_BTCHW: Tensor, grid: tuple[int, int, int]) -> VisionTokens:
        """As `forward`, of frames that are normalised as this encoder's own are.

        Args:
            frames_BTCHW: pixels.
            grid: frames, rows and columns of the tokens.
        """


class TeacherSource(ABC):
    """Where a teacher comes from: what a config names by `class_path`. Subclasses are dataclasses of plain fields."""

    source: str

    @abstractmethod
    def geometry(self) -> TeacherGeometry:
        """What a token of the teacher stands for, without reading its weights.

        Raises:
            ConfigError: nothing there, or another kind of model.
        """

    @abstractmethod
    def load(self, attention: str | None = None) -> Teacher:
        """The teacher with its weights, in float32.

        Args:
            attention: "eager", "sdpa" or None for the library's choice.

        Raises:
            ConfigError: nothing there, another kind of model, or weights that do not fit it.
        """


def weights_sha256(module: nn.Module) -> str:
    """Hash of all parameters and buffers of a module: names, dtypes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
