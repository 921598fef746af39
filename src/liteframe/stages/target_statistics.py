"""Mean and deviation of CTD's targets by channel: where they come from, and what a checkpoint keeps of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from liteframe.errors import CheckpointError, ConfigError
from liteframe.stages.losses import standardise

_LEAST_OF_USUAL = 1e-3


class TargetStatistics(nn.Module):
    """The statistics that targets are standardised by, or whose means a head begins at.

    Attributes:
        mean_C, std_C: by channel.
        is_standardising: whether the student learns targets with mean 0 and deviation 1 in each channel.
        are_known: whether they have been taken from anywhere yet.
        are_given: whether a feature store gave them, which a checkpoint has to agree with.
        raised_C: whether the deviation of a channel was raised: to half of the rounding step at its mean, below which
            it says nothing of the teacher, or to a thousandth of the usual deviation. Standardised by less, a single
            other value would outweigh all channels that there are.

    Args:
        width: channels of the targets.
        is_standardising: see above; None is true, but for checkpoints of versions that did not say.
    """

    mean_C: Tensor
    std_C: Tensor
    raised_C: Tensor

    def __init__(self, width: int, is_standardising: bool | None) -> None:
        super().__init__()
        self.is_standardising = is_standardising is not False
        self._was_said = is_standardising is not None
        self.are_known = self.are_given = False
        self.register_buffer("mean_C", torch.zeros(width), persistent=False)
        self.register_buffer("std_C", torch.ones(width), persistent=False)
        self.register_buffer("raised_C", torch.zeros(width, dtype=torch.bool), persistent=False)

    def forward(self, targets: Tensor) -> Tensor:
        """Targets (..., C) as the student learns them."""
        return standardise(targets, self.mean_C, self.std_C) if self.is_standardising else targets

    @property
    def centre_C(self) -> Tensor | None:
        """Mean of what `forward` gives; None is 0."""
        return None if self.is_standardising else self.mean_C

    @property
    def variance_C(self) -> Tensor | None:
        """Variance of what `forward` gives; None is 1."""
        return None if self.is_standardising else self.std_C.square()

    def take(self, mean_C: Tensor, std_C: Tensor, dtype: torch.dtype, given: bool = False) -> None:
        """Sets them.

        Args:
            mean_C, std_C: as measured.
            dtype: of the targets.
            given: whether they are those of a feature store.
        """
        raised_C = torch.maximum(std_C, _least_deviation(mean_C, std_C, dtype))
        self.raised_C.copy_(raised_C > std_C)
        self._set(mean_C, raised_C)
        self.are_given = self.are_given or given

    def _set(self, mean_C: Tensor, std_C: Tensor) -> None:
        self.mean_C.copy_(mean_C)
        self.std_C.copy_(std_C)
        self.are_known = True

    def to_checkpoint(self) -> dict[str, Any]:
        """What a checkpoint keeps; nothing before they are known."""
        if not self.are_known:
            return {}
        statistics = {"mean_C": self.mean_C.cpu(), "std_C": self.std_C.cpu()}
        return {"targets": {"standardise": self.is_standardising, **statistics}}

    def from_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the statistics that the weights of a checkpoint were trained with.

        Raises:
            ConfigError: they were trained on targets of other statistics, or it is not known on which.
            CheckpointError: what it says of its targets is damaged, or of another width.
        """
        targets = checkpoint.get("targets")
        if targets is None:  # of a version that standardised only where it was told to
            if not self._was_said:
                raise ConfigError(
                    "the checkpoint is of a version that learnt targets as they are unless told otherwise: set"
                    " model.standardise to false or true, as that run had it (its config.yaml says which)"
                )
            return
        mean_C, std_C = self._sound(targets)
        if targets["standardise"] != self.is_standardising:
            raise ConfigError(
                f"model.standardise is {self.is_standardising}, the checkpoint was trained with"
                f" {targets['standardise']}"
            )
        if self.are_given and not self._agree(mean_C, std_C):
            raise ConfigError(
                "the checkpoint was trained with other statistics of its targets than those of model.statistics or"
                " data.store; give the store that it was trained with"
            )
        self._set(mean_C, std_C)

    def _agree(self, mean_C: Tensor, std_C: Tensor) -> bool:
        """Whether a checkpoint's are these; one of an earlier version raised none."""
        raised_C = self.raised_C.cpu()
        same_C = (std_C == self.std_C.cpu()) | (raised_C & (std_C < self.std_C.cpu()))
        return torch.equal(mean_C, self.mean_C.cpu()) and bool(same_C.all())

    def _sound(self, targets: Any) -> tuple[Tensor, Tensor]:
        """Mean and deviation of a checkpoint. Raises CheckpointError where they are damaged or of another width."""
        if isinstance(targets, dict) and isinstance(targets.get("standardise"), bool):
            mean_C, std_C = targets.get("mean_C"), targets.get("std_C")
            if isinstance(mean_C, Tensor) and isinstance(std_C, Tensor):
                fits = mean_C.shape == std_C.shape == self.mean_C.shape
                if fits and bool(torch.isfinite(mean_C).all() and torch.isfinite(std_C).all() and (std_C > 0).all()):
                    return mean_C, std_C
        raise CheckpointError(
            f"the checkpoint's `targets` are no mean and deviation of {len(self.mean_C)} channels; go on from an older"
            " one, or train anew"
        )


def _least_deviation(mean_C: Tensor, std_C: Tensor, dtype: torch.dtype) -> Tensor:
    """The least deviation that a channel of such targets is standardised by."""
    half_step_C = mean_C.abs() * torch.finfo(dtype).eps / 2
    return half_step_C.clamp(min=_LEAST_OF_USUAL * float(std_C.median()))
