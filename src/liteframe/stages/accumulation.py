"""Gradients of the mean over a whole optimizer step, however it is split over ranks and accumulated batches."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from liteframe.stages.distributed import world_size
from liteframe.stages.means import Means, SummedLoss


class StepMean:
    """The mean loss of one optimizer step, taken batch by batch.

    Batches count unequally, by answer tokens or by elements, and how much the later ones count is not known at the
    earlier ones. So each loss is divided by the count of all batches so far, and before each backward pass the
    gradients so far shrink to their share of that count. After the last batch they are those of one batch of all.
    """

    def __init__(self) -> None:
        self._so_far: Means | None = None
        self._shrink: Tensor | None = None

    def add(self, loss: SummedLoss, batches: int) -> tuple[Tensor, Means]:
        """Takes in the next batch of the step; every rank must call it.

        Args:
            loss: of this rank's batch.
            batches: what the trainer divides a loss by, its `accumulate_grad_batches`.

        Returns:
            The scalar to call backward on, and the means over all ranks and all batches of the step so far.
        """
        batch, before = loss.means.over_ranks(), self._so_far
        self._so_far = whole = batch if before is None else before + batch
        count = _count(whole)
        self._shrink = None if before is None else before.parts["loss"][1] / count
        # DDP averages gradients over the ranks, and the trainer over the batches.
        return loss.total * (world_size() * batches) / count.to(loss.total.dtype), whole

    def shrink(self, parameters: Iterable[nn.Parameter]) -> None:
        """Scales the gradients of the batches before to their share; to be called before a batch's backward pass.

        Args:
            parameters: the optimizer's.
        """
        if self._shrink is None:
            return
        for parameter in parameters:
            if parameter.grad is not None:
                gradient = parameter.grad
                (gradient.to_local() if isinstance(gradient, DTensor) else gradient).mul_(self._shrink)

    def reset(self) -> None:
        """Begins the next optimizer step."""
        self._so_far = self._shrink = None


def _count(means: Means) -> Tensor:
    return means.parts["loss"][1].clamp(min=1)
