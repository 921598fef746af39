"""Training stops where its loss or its gradient is not finite, before a step is made of it."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from liteframe.errors import DivergedError
from liteframe.models.finite import not_finite

_ADVICE = "lower model.optimizer.lr or set trainer.gradient_clip_val; --ckpt_path last goes on from the last checkpoint"


class FiniteWatch:
    """What is looked at before each optimizer step: the losses since the last one, and the gradients."""

    def __init__(self) -> None:
        self._losses: list[Tensor] = []

    def note_loss(self, loss: Tensor) -> None:
        """Takes the loss of one batch, without waiting for it."""
        self._losses.append(loss.detach())

    def require_finite(self, stage: LightningModule) -> None:
        """Waits once for losses and gradients.

        Raises:
            DivergedError: naming the step and what is not finite.
        """
        losses, self._losses = self._losses, []
        if losses and not bool(torch.stack(losses).isfinite().all()):
            raise DivergedError(
                f"step {stage.global_step}: the loss is {_first_bad(losses)}; {_weights(stage)}{_ADVICE}"
            )
        if str(stage.trainer.precision) == "16-mixed":
            return  # its scaler looks for infinite gradients by itself, and leaves out steps with them
        gradients = {name: weight.grad for name, weight in stage.named_parameters() if weight.grad is not None}
        if bad := not_finite(gradients):
            raise DivergedError(
                f"step {stage.global_step}: the gradients of {len(bad)} of {len(gradients)} weights are not finite,"
                f" first {bad[0]}; {_weights(stage)}{_ADVICE}"
            )


def require_finite_weights(tensors: dict[str, Tensor], what: str) -> None:
    """Raises DivergedError where one of the tensors is not finite; `what` is what would be written of them."""
    if bad := not_finite(tensors):
        raise DivergedError(
            f"{what} is not written: {len(bad)} of {len(tensors)} tensors are not finite, first {bad[0]}; {_ADVICE}"
        )


def tensors_in(value: Any, name: str = "") -> dict[str, Tensor]:
    """Every tensor in nested dicts and lists, by its dotted name."""
    if isinstance(value, Tensor):
        return {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    return {
        key: tensor for part, item in items for key, tensor in tensors_in(item, f"{name}.{part}".strip(".")).items()
    }


def _first_bad(losses: list[Tensor]) -> float:
    return next(float(loss) for loss in losses if not bool(loss.isfinite()))


def _weights(stage: nn.Module) -> str:
    """Whether the weights are bad already, which tells a step that was too long from data that are not finite."""
    bad = not_finite(dict(stage.named_parameters()))
    largest = max((float(weight.detach().abs().max()) for weight in stage.parameters() if weight.numel()), default=0.0)
    said = f"{len(bad)} weights are not finite" if bad else f"all weights are finite, the largest is {largest:.3g}"
    return f"{said}; "
