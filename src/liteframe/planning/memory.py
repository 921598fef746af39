"""Memory of a GPU while a stage trains: weights, gradients and optimizer exactly, activations as a rough estimate.

The estimate adds up what autograd keeps of each layer under bfloat16 autocast with a fused attention kernel: inputs of
norms in float32, inputs of trained products and of activation functions in bfloat16. It leaves out the allocator's
fragments, workspaces of kernels, and the batch itself.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import prod
from typing import Any

from liteframe.models.student.encoder_config import LiteFrameConfig
from liteframe.planning.flops import head_size, is_sparse, linear_shapes, student_grid

GIB = 2**30
_BF16, _FP32 = 2, 4
_ADAM_STATES = 2
_MIXER_BYTES = {
    "depthwise": _BF16,
    "full": _BF16,
    "attention": (_FP32 + _BF16) + 4 * _BF16 + _BF16,  # norm; query, key, value and their mixture; projection
    "joint": 0,
    "none": 0,
}
"""Of a channel of a token, beside what the block keeps."""


@dataclass(frozen=True)
class Part:
    """A part of the model in the memory of the GPUs.

    Attributes:
        name: for the table.
        parameters: all of them.
        trained: those with a gradient.
        bytes_each: of a parameter.
        gathered: parameters that are whole at a time where weights are shared out; 0 for a part that never is.
    """

    name: str
    parameters: int
    trained: int
    bytes_each: int
    gathered: int = 0

    @property
    def weights(self) -> int:
        return self.parameters * self.bytes_each


@dataclass(frozen=True)
class Memory:
    """Bytes on each GPU."""

    weights: float
    gradients: float
    optimizer: float
    casts: float
    activations: float

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.optimizer + self.casts + self.activations


def memory(parts: Collection[Part], activations: float, gpus: int, sharded: bool, autocast: bool) -> Memory:
    """What each of `gpus` GPUs holds.

    Args:
        parts: of the model; trained weights, their gradients and AdamW's two states are float32.
        activations: bytes, of the largest batch.
        gpus: that train together; with more than one, DDP keeps a second copy of the gradients to send.
        sharded: weights, gradients and states are shared out over the GPUs, and a layer is gathered when it is used.
        autocast: products run in bfloat16, so float32 weights that are trained are kept in bfloat16 too.
    """
    trained = sum(part.trained for part in parts)
    share = gpus if sharded else 1
    weights = sum(part.weights / (share if part.gathered else 1) for part in parts)
    gathered = sum(part.gathered * part.bytes_each for part in parts) if sharded and gpus > 1 else 0
    copies = 2 if gpus > 1 and not sharded else 1
    return Memory(
        weights=weights + gathered,
        gradients=copies * trained * _FP32 / share,
        optimizer=_ADAM_STATES * trained * _FP32 / share,
        casts=trained * _BF16 / share if autocast else 0.0,
        activations=activations,
    )


def student_activations(
    config: LiteFrameConfig,
    image_size: tuple[int, int],
    clips: int = 1,
    checkpointing: bool = False,
    chunk: int | None = None,
) -> float:
    """Bytes that autograd keeps of so many clips in the student.

    Args:
        checkpointing: keep the input of each block alone, and one block at a time in full; in chunks, keep what the
            student gives, and one chunk at a time in full.
        chunk: clips of a chunk, for `checkpointing`.
    """
    ends, inputs, blocks = _student_bytes(config, image_size)
    if not checkpointing:
        return float(clips * (ends + sum(blocks)))
    if chunk is None:
        return float(clips * (ends + sum(inputs) + max(blocks)))
    rows, columns = (
        side // config.patch_size // step for side, step in zip(image_size, config.stride[1:], strict=True)
    )
    given = _BF16 * config.clip_frames // config.stride[0] * rows * columns * config.output_size
    return float(clips * given + min(chunk, clips) * (ends + sum(blocks)))


def _student_bytes(config: LiteFrameConfig, image_size: tuple[int, int]) -> tuple[int, list[int], list[int]]:
    """Of a clip: what the ends keep, the input of each block, and all that each block keeps."""
    width, mlp = config.hidden_size, int(config.hidden_size * config.mlp_ratio)
    strides = dict(zip(config.downsample_after, config.downsample_strides, strict=True))
    grid = student_grid(config, image_size)
    ends = _BF16 * prod(grid) * (config.num_channels * config.patch_size**2 + width)
    inputs, blocks = [], []
    for depth in range(1, config.num_hidden_layers + 1):
        norms, attention, projection = 2 * (_FP32 + _BF16) * width, 4 * _BF16 * width, _BF16 * width
        mixer = _MIXER_BYTES[config.temporal_mixer] * width if grid[0] > 1 else 0
        downsample = _BF16 * width if depth in strides else 0
        inputs.append(prod(grid) * (_BF16 * width + downsample))
        blocks.append(prod(grid) * (norms + attention + projection + 2 * _BF16 * mlp + mixer + downsample))
        if depth in strides:
            grid = tuple(size // step for size, step in zip(grid, strides[depth], strict=True))  # type: ignore[assignment]
    return ends + prod(grid) * ((_FP32 + _BF16) * width + 2 * _FP32 * config.output_size), inputs, blocks


def vision_tower_workspace(vision: Any, tokens: int) -> float:
    """Bytes of the image encoder's largest moment without gradients: an MLP, its input and the residual stream."""
    return float(_BF16 * tokens * (2 * vision.intermediate_size + 3 * vision.hidden_size))


def llm_activations(text: Any, tokens: int, targets: Collection[str], checkpointing: bool = False) -> float:
    """Bytes that autograd keeps of `tokens` tokens in a frozen LLM with LoRA beside its `targets`.

    Args:
        checkpointing: keep the input of each layer alone, and one layer at a time in full.
    """
    layers = [_layer_bytes(text, layer, targets) for layer in range(text.num_hidden_layers)]
    if checkpointing:
        return float(tokens * (len(layers) * _BF16 * text.hidden_size + max(layers)))
    return float(tokens * sum(layers))


def _layer_bytes(text: Any, layer: int, targets: Collection[str]) -> int:
    """Of a token: two RMS norms in float32, queries, keys and values as the kernel takes them, the gated MLP."""
    heads = text.num_attention_heads * head_size(text)
    norms, attention = 2 * _FP32 * text.hidden_size, 4 * _BF16 * heads
    mlp = text.intermediate_size
    if is_sparse(text, layer):
        mlp = text.num_experts_per_tok * getattr(text, "moe_intermediate_size", mlp)
    adapters = sum(_BF16 * rows for name, (rows, _) in linear_shapes(text, layer).items() if name in targets)
    return norms + attention + 3 * _BF16 * mlp + adapters


def projector_activations(feature_size: int, text_size: int, tokens: int, downsample_ratio: float) -> float:
    """Bytes that autograd keeps of `tokens` visual tokens in the projector."""
    shuffled = feature_size * round(1 / downsample_ratio) ** 2
    return float(tokens * ((_FP32 + _BF16) * shuffled + 2 * _BF16 * text_size))


def logits_bytes(text: Any, tokens: int) -> float:
    """Bytes of the logits of `tokens` tokens and of their gradient, in float32 and in bfloat16."""
    return float(tokens * text.vocab_size * (2 * _FP32 + _BF16))
