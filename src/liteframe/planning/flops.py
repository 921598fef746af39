"""Floating point operations counted from the sizes in a config.

A multiplication with its addition is two operations, as torch's `FlopCounterMode` has it. Norms, activations and
softmax count nothing; attention counts whole, with the half that a causal kernel leaves out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import prod
from typing import Any

from liteframe.models.student.encoder_config import LiteFrameConfig
from liteframe.models.student.temporal import JOINT


@dataclass(frozen=True)
class Cost:
    """Operations of a forward pass, told apart by what their backward pass costs.

    Attributes:
        linear: products of tokens with weights.
        attention: products of tokens with tokens.
        pixels: products of pixels with weights; no gradient goes on to the pixels.
    """

    linear: float = 0.0
    attention: float = 0.0
    pixels: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.linear + other.linear, self.attention + other.attention, self.pixels + other.pixels)

    def __mul__(self, times: float) -> Cost:
        return Cost(self.linear * times, self.attention * times, self.pixels * times)

    @property
    def forward(self) -> float:
        return self.linear + self.attention + self.pixels

    def training(self, trained: bool = True) -> float:
        """Forward and backward; weights that are not `trained` only let the gradient of their input through."""
        return self.linear * (3 if trained else 2) + 3 * self.attention + self.pixels * (2 if trained else 1)


def vision_tower_cost(vision: Any, image_size: tuple[int, int]) -> Cost:
    """One frame through InternVL's image encoder.

    Args:
        vision: an `InternVLVisionConfig`.
        image_size: height and width in pixels.
    """
    width, mlp, layers = vision.hidden_size, vision.intermediate_size, vision.num_hidden_layers
    patches = prod(side // patch for side, patch in zip(image_size, vision.patch_size, strict=True))
    tokens = patches + 1
    return Cost(
        linear=layers * 2 * tokens * (4 * width**2 + 2 * width * mlp),
        attention=layers * 4 * tokens**2 * width,
        pixels=2 * patches * vision.num_channels * prod(vision.patch_size) * width,
    )


def student_cost(config: LiteFrameConfig, image_size: tuple[int, int]) -> Cost:
    """One clip through the student, from its pixels to the teacher's feature space."""
    width, mlp = config.hidden_size, int(config.hidden_size * config.mlp_ratio)
    strides = dict(zip(config.downsample_after, config.downsample_strides, strict=True))
    grid = student_grid(config, image_size)
    cost = Cost(pixels=2 * prod(grid) * config.num_channels * config.patch_size**2 * width)
    for depth in range(1, config.num_hidden_layers + 1):
        tokens, frame = prod(grid), grid[1] * grid[2]
        row = tokens if config.temporal_mixer == JOINT else frame
        cost += Cost(2 * tokens * (4 * width**2 + 2 * width * mlp), 4 * tokens * row * width)
        if grid[0] > 1:
            cost += _mixer_cost(config, grid)
        if depth in strides:
            cost += Cost(2 * tokens * width)
            grid = tuple(size // step for size, step in zip(grid, strides[depth], strict=True))  # type: ignore[assignment]
    return cost + Cost(2 * prod(grid) * width * config.output_size)


def _mixer_cost(config: LiteFrameConfig, grid: tuple[int, int, int]) -> Cost:
    """What a clip's temporal mixer costs beside the block."""
    tokens, width = prod(grid), config.hidden_size
    if config.temporal_mixer == "depthwise":
        return Cost(2 * tokens * width * config.temporal_kernel)
    if config.temporal_mixer == "full":
        return Cost(2 * tokens * width**2 * config.temporal_kernel)
    if config.temporal_mixer == "attention":
        return Cost(2 * tokens * 4 * width**2, 4 * tokens * grid[0] * width)
    return Cost()


def student_grid(config: LiteFrameConfig, image_size: tuple[int, int]) -> tuple[int, int, int]:
    """Frames, rows and columns of a clip's patches."""
    return (config.clip_frames, image_size[0] // config.patch_size, image_size[1] // config.patch_size)


def projector_cost(feature_size: int, text_size: int, tokens: int, downsample_ratio: float) -> Cost:
    """`tokens` visual tokens, counted after the pixel shuffle, through the host's two-layer projector."""
    shuffled = feature_size * round(1 / downsample_ratio) ** 2
    return Cost(linear=2 * tokens * (shuffled * text_size + text_size**2))


def llm_cost(text: Any, tokens: int) -> Cost:
    """`tokens` tokens of one prompt through the LLM's layers, without its head.

    Args:
        text: config of the LLM: Qwen2, Qwen3, Llama, or a mixture of experts such as Qwen3-MoE.
    """
    heads = text.num_attention_heads * head_size(text)
    linear = 0
    for layer in range(text.num_hidden_layers):
        linear += sum(rows * columns for rows, columns in linear_shapes(text, layer).values())
        if is_sparse(text, layer):
            expert = 3 * text.hidden_size * getattr(text, "moe_intermediate_size", text.intermediate_size)
            linear += text.num_experts_per_tok * expert + text.num_experts * text.hidden_size
    return Cost(linear=2 * tokens * linear, attention=text.num_hidden_layers * 4 * tokens**2 * heads)


def adapter_cost(text: Any, tokens: int, rank: int, targets: Collection[str]) -> Cost:
    """`tokens` tokens through LoRA adapters of that rank beside the linear layers named in `targets`."""
    sizes = sum(
        rows + columns
        for layer in range(text.num_hidden_layers)
        for name, (rows, columns) in linear_shapes(text, layer).items()
        if name in targets
    )
    return Cost(linear=2 * tokens * rank * sizes)


def head_cost(text: Any, tokens: int) -> Cost:
    """Logits of `tokens` tokens."""
    return Cost(linear=2 * tokens * text.hidden_size * text.vocab_size)


def linear_shapes(text: Any, layer: int) -> dict[str, tuple[int, int]]:
    """Width in and out of the linear layers that every token of an LLM's layer passes; experts are none of them."""
    width, own, shared = text.hidden_size, text.num_attention_heads, text.num_key_value_heads
    head = head_size(text)
    shapes = {
        "q_proj": (width, own * head),
        "k_proj": (width, shared * head),
        "v_proj": (width, shared * head),
        "o_proj": (own * head, width),
    }
    if not is_sparse(text, layer):
        mlp = text.intermediate_size
        shapes |= {"gate_proj": (width, mlp), "up_proj": (width, mlp), "down_proj": (mlp, width)}
    return shapes


def head_size(text: Any) -> int:
    """Width of an attention head."""
    return getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads


def is_sparse(text: Any, layer: int) -> bool:
    """Whether a layer is a mixture of experts."""
    if not getattr(text, "num_experts", 0):
        return False
    step = getattr(text, "decoder_sparse_step", 1)
    return layer not in (getattr(text, "mlp_only_layers", None) or ()) and (layer + 1) % step == 0
