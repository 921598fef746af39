"""Mean and deviation of CTD's targets by channel: where they come from, and what a checkpoint keeps of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from liteframe.errors import CheckpointError, ConfigError
from liteframe.stages.losses import standardise


class TargetStatistics(nn.Module):
    """The statistics that targets are standardised by, or whose means a head begins at.

    Attributes:
        mean_C, std_C: by channel.
        is_standardising: whether the student learns targets with mean 0 and deviation 1 in each channel.
        are_known: whether they have been taken from anywhere yet.
        are_given: whether a feature store gave them, which a checkpoint has to agree with.

    Args:
        width: channels of the targets.
        is_standardising: see above; None is true, but for checkpoints of versions that did not say.
    """

    mean_C: Tensor
    std_C: Tensor

    def __init__(self, width: int, is_standardising: bool | None) -> None:
        super().__init__()
        self.is_standardising = is_standardising is not False
        self._was_said = is_standardising is not None
        self.are_known = self.are_given = False
        self.register_buffer("mean_C", torch.zeros(width), persistent=False)
        self.register_buffer("std_C", torch.ones(width), persistent=False)

    def forward(self, targets: Tensor) -> Tensor:
        """Targets (..., C) as the student learns them."""
        return standardise(targets, self.mean_C, self.std_C) if self.is_standardising else targets

    @property
    def centre_C(self) -> Tensor | None:
        """Mean of what `forward` gives; None is 0."""
        return None if self.is_standardising else self.mean_C

    def take(self, mean_C: Tensor, std_C: Tensor, given: bool = False) -> None:
        """Sets both; `given` where they are those of a feature store."""
        self.mean_C.copy_(mean_C)
        self.std_C.copy_(std_C)
        self.are_known, self.are_given = True, self.are_given or given

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
        if self.are_given and not (torch.equal(mean_C, self.mean_C.cpu()) and torch.equal(std_C, self.std_C.cpu())):
            raise ConfigError(
                "the checkpoint was trained with other statistics of its targets than those of model.statistics or"
                " data.store; give the store that it was trained with"
            )
        self.take(mean_C, std_C)

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
