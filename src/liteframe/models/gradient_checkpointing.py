"""Less memory in training: activations are computed again in the backward pass instead of being kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel


def checkpoint_layers(model: PreTrainedModel) -> None:
    """Lets every layer of a transformers model keep its input alone (gradient checkpointing) while it trains.

    Nothing is asked of the inputs: layers with adapters learn behind frozen embeddings too.
    """
    unreentrant: dict[str, Any] = {"use_reentrant": False}
    # The name changed within transformers 5.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable(unreentrant)


def checkpointed(function: Callable[[Tensor], Tensor], tensor: Tensor) -> Tensor:
    """`function(tensor)`, which keeps `tensor` alone for the backward pass; the function must use no chance."""
    return checkpoint(function, tensor, use_reentrant=False, preserve_rng_state=False)
