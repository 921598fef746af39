"""Memory of a GPU while a stage trains: weights, gradients and optimizer exactly, activations as a rough estimate.

What autograd keeps is counted in `forward_pass`. The allocator's fragments and workspaces of kernels are left out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import prod
from typing import Any

GIB = 2**30
_BF16, _FP32 = 2, 4
_ADAM_STATES = 2


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
    inputs: float

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.optimizer + self.casts + self.activations + self.inputs


def memory(
    parts: Collection[Part], activations: float, inputs: float, gpus: int, sharded: bool, autocast: bool
) -> Memory:
    """What each of `gpus` GPUs holds.

    Args:
        parts: of the model; trained weights, their gradients and AdamW's two states are float32.
        activations: bytes, of the largest batch.
        inputs: bytes of its frames.
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
        inputs=inputs,
    )


def frames_bytes(frames: int, image_size: tuple[int, int]) -> float:
    """Bytes of so many frames in uint8, as they stay until the step is done."""
    return float(frames * 3 * prod(image_size))


def vision_tower_workspace(vision: Any, frames: int, image_size: tuple[int, int]) -> float:
    """Bytes of the image encoder's largest moment without gradients: an MLP, its input, the residual stream, and the
    frames, which are normalised in float32."""
    tokens = frames * (1 + prod(side // patch for side, patch in zip(image_size, vision.patch_size, strict=True)))
    layer = _BF16 * tokens * (2 * vision.intermediate_size + 3 * vision.hidden_size)
    return layer + _FP32 * frames_bytes(frames, image_size)


def logits_bytes(text: Any, tokens: int) -> float:
    """Bytes of the logits of `tokens` tokens and of their gradient, in float32 and in bfloat16."""
    return float(tokens * text.vocab_size * (2 * _FP32 + _BF16))
