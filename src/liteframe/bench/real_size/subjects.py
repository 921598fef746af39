"""Methods with their projector and the LLM, random weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel
from transformers.models.internvl.modeling_internvl import InternVLMultiModalProjector

from liteframe.bench.declared import declared
from liteframe.bench.encoders import ENCODERS, ComparedEncoder
from liteframe.bench.real_size.quick_weights import QuickWeights
from liteframe.bench.real_size.shapes import Shapes
from liteframe.models.rivals.llm_pruning import PrunedVideoLLM
from liteframe.models.rivals.post_hoc import PostHocVideoLLM
from liteframe.models.rivals.pruners import FastV, Pruner, PyramidDrop
from liteframe.models.teachers import Teacher
from liteframe.models.video_llm.model import BaseParts, LiteFrameBackbone, VideoLLM
from liteframe.ops.compressors.registry import METHODS, ON_BLOCKS
from liteframe.tiny.models import tiny_processor

QUESTION_TOKENS = 64
"""Text of the prompt besides the `Frame` lines; fixed, the same in all methods."""
LINE_TOKENS = 8
"""Text that a `Frame` line adds to its visual tokens: its number, two marks of the image and a line break, about."""
POST_HOC: dict[str, str] = {f"teacher+{name}": name for name in METHODS if name not in ON_BLOCKS}
"""Name -> compressor of `ops.compressors.registry`, at 16x on projected tokens; the grid's poolings stand in front."""
INSIDE_LLM: dict[str, type[Pruner]] = {"teacher+fastv": FastV, "teacher+pyramiddrop": PyramidDrop}
"""Name -> what drops tokens inside the LLM, so that its last layers see a 16th."""
_RATIO = 16.0


@dataclass(frozen=True)
class Llm:
    """The LLM that all methods share, with random weights.

    Attributes:
        model: without its head.
        head: to the vocabulary.
    """

    model: PreTrainedModel
    head: nn.Module

    @classmethod
    def build(cls, shapes: Shapes, device: torch.device, dtype: torch.dtype) -> Llm:
        """Made on the device at once: nothing is read, and the CPU never holds the weights of a GPU's LLM."""
        text: Any = shapes.config.text_config
        with torch.device(device), QuickWeights():
            model: Any = AutoModel.from_config(text, dtype=dtype, attn_implementation=text._attn_implementation)
            head = nn.Linear(text.hidden_size, text.vocab_size, bias=False, dtype=dtype)
        return cls(model.requires_grad_(False).eval(), head.requires_grad_(False))

    def weight_bytes(self) -> int:
        """What one pass reads of the weights; a prompt's embeddings are a row each and do not count."""
        embeddings = self.model.get_input_embeddings()
        assert isinstance(embeddings, nn.Module)
        return module_bytes(self.model) - module_bytes(embeddings) + module_bytes(self.head)

    def describe(self) -> dict[str, Any]:
        """What methods must agree in."""
        config: Any = self.model.config
        return {"type": config.model_type, "hidden": config.hidden_size, "layers": config.num_hidden_layers}


@dataclass(frozen=True)
class Subject:
    """One method as it is measured.

    Attributes:
        name: of the method.
        about: what the registry says of it.
        model: a `VideoLLM`, or one of `liteframe.models.rivals` around it.
        image_size: side of its frames in pixels.
        channels_last: its frames lie in memory with the colours of a pixel together.
    """

    name: str
    about: ComparedEncoder
    model: Any
    image_size: int
    channels_last: bool = False

    @property
    def dtype(self) -> str:
        """Of the encoder's weights."""
        return str(next(self.video_llm.backbone.parameters()).dtype).removeprefix("torch.")

    @property
    def video_llm(self) -> VideoLLM:
        """The Video LLM itself."""
        inner: VideoLLM = getattr(self.model, "inner", self.model)
        return inner

    def frames(self, count: int, batch: int = 1) -> Tensor:
        """As `pixels`, on the device of the encoder."""
        return self.pixels(count, batch).to(next(self.video_llm.backbone.parameters()).device)

    def pixels(self, count: int, batch: int = 1) -> Tensor:
        """Random frames as a decoder gives them, uint8 (batch, count, 3, side, side) on the host; pinned for a GPU."""
        pixels = torch.randint(0, 256, self._shape(count, batch), dtype=torch.uint8)
        return self._laid(pixels.pin_memory() if next(self.video_llm.backbone.parameters()).is_cuda else pixels)

    def _shape(self, count: int, batch: int) -> tuple[int, ...]:
        side = self.image_size
        return (batch, count, side, side, 3) if self.channels_last else (batch, count, 3, side, side)

    def _laid(self, frames: Tensor) -> Tensor:
        return frames.movedim(-1, 2) if self.channels_last else frames

    def settings(self, question_tokens: int, output_length: int) -> dict[str, Any]:
        """What it runs under, read off its modules; methods that differ in it may not be compared."""
        return declared(self.model, f"{question_tokens} tokens, and {LINE_TOKENS} a Frame line", output_length)


Backbones = dict[Callable[[Shapes], nn.Module], nn.Module]
"""Encoders that are made already, by their maker: methods that differ behind it share one."""


def build_subject(
    name: str, shapes: Shapes, llm: Llm, device: torch.device, dtype: torch.dtype, made: Backbones | None = None
) -> Subject:
    """The method of that name, with random weights.

    Raises:
        ConfigError: a model that the installed timm does not have.
    """
    if name in POST_HOC:
        inner = build_subject("teacher", shapes, llm, device, dtype, made)
        compressed = PostHocVideoLLM(inner.model, POST_HOC[name], _RATIO)
        label = f"InternViT-300M, {POST_HOC[name]} at {_RATIO:g}x behind the projector"
        return Subject(name, ComparedEncoder(label, inner.about.make, "post-hoc"), compressed, inner.image_size)
    if name in INSIDE_LLM:
        inner = build_subject("teacher", shapes, llm, device, dtype, made)
        pruned = PrunedVideoLLM(inner.model, INSIDE_LLM[name](_RATIO))
        label = f"InternViT-300M, {INSIDE_LLM[name].__name__} to {_RATIO:g}x inside the LLM"
        note = "its prefill keeps no cache of keys and values, those of the others do; no floor is computed for it"
        return Subject(name, ComparedEncoder(label, inner.about.make, "inside", note=note), pruned, inner.image_size)
    about, made = ENCODERS[name], {} if made is None else made
    if about.make not in made:
        with torch.device(device), QuickWeights():
            made[about.make] = about.make(shapes).to(device, dtype).eval().requires_grad_(False)
    backbone = made[about.make]
    parts = BaseParts(
        projector=_projector(shapes, token_width(backbone), about.shuffle).to(device, dtype),
        language_model=llm.model,
        lm_head=llm.head,
        downsample_ratio=shapes.config.downsample_ratio if about.shuffle else 1.0,
        image_token_id=shapes.config.image_token_id,
    )
    # No text is tokenised here: the processor only has to be one.
    model = VideoLLM(parts, tiny_processor(), backbone, about.compressor, about.frames_per_group)
    return Subject(name, about, model.eval(), about.image_size(shapes))


def token_width(backbone: nn.Module) -> int:
    """Channels of a backbone's tokens."""
    if isinstance(backbone, LiteFrameBackbone):
        return backbone.encoder.config.output_size
    width: int = backbone.geometry.width if isinstance(backbone, Teacher) else getattr(backbone, "width")  # noqa: B009
    return width


def _projector(shapes: Shapes, width: int, shuffle: bool) -> InternVLMultiModalProjector:
    """The base VLM's two layers, fitted to the width of the tokens and to whether a pixel shuffle precedes them."""
    config: Any = copy.deepcopy(shapes.config)
    config.vision_config.hidden_size = width
    config.downsample_ratio = config.downsample_ratio if shuffle else 1.0
    return InternVLMultiModalProjector(config).requires_grad_(False).eval()


def module_bytes(module: nn.Module) -> int:
    """Bytes of its parameters."""
    return sum(weight.numel() * weight.element_size() for weight in module.parameters())
