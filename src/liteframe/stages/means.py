"""Means as sums and counts, so that those of parts of a batch, whatever their sizes, add up to those of the whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from liteframe.data.store.statistics import MIN_STD
from liteframe.errors import DataError
from liteframe.stages.distributed import all_reduce_sum, gather_objects


class Means:
    """Named means of some samples.

    Args:
        parts: for each name a sum, a scalar or one of each channel (C,), and the scalar count that it is divided by.
    """

    def __init__(self, parts: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        self.parts = {name: (total.detach(), count.detach()) for name, (total, count) in parts.items()}

    def __add__(self, other: Means) -> Means:
        """The means over the samples of both, which have the same names."""
        return Means(
            {
                name: (total + other.parts[name][0], count + other.parts[name][1])
                for name, (total, count) in self.parts.items()
            }
        )

    def __or__(self, other: Means) -> Means:
        """Both, under different names."""
        return Means({**self.parts, **other.parts})

    def prefixed(self, prefix: str) -> Means:
        """The same with `prefix` before each name."""
        return Means({f"{prefix}{name}": part for name, part in self.parts.items()})

    def over_ranks(self) -> Means:
        """Those of all ranks together; a collective, for a step that every rank runs."""
        flat = [torch.cat([total.reshape(-1), count.reshape(1)]) for total, count in self.parts.values()]
        sums = all_reduce_sum(torch.cat(flat)).split([len(part) for part in flat])
        shapes = (total.shape for total, _ in self.parts.values())
        return Means(
            {
                name: (part[:-1].view(shape), part[-1])
                for name, part, shape in zip(self.parts, sums, shapes, strict=True)
            }
        )

    def values(self) -> dict[str, Tensor]:
        """The means in float32; 0 where nothing counts."""
        return {
            name: torch.where(count == 0, 0.0, total / count).float() for name, (total, count) in self.parts.items()
        }


@dataclass(frozen=True)
class SummedLoss:
    """A loss that is not divided yet, because other parts of the batch are elsewhere or still to come.

    Attributes:
        total: scalar with gradient, the sum over what counts in this process's batch.
        means: of this process's batch, for the log; "loss" is `total` and its count.
    """

    total: Tensor
    means: Means

    @property
    def count(self) -> Tensor:
        """What `total` is to be divided by, of this batch alone."""
        return self.means.parts["loss"][1]


class ChannelMoments:
    """Sums, by channel, of values of which mean and deviation are asked.

    Args:
        channels: of the values.
        device: that the ranks communicate on.
    """

    def __init__(self, channels: int, device: torch.device) -> None:
        device = torch.device("cpu") if device.type == "mps" else device  # which has no float64
        self._sums = torch.zeros(2 * channels + 1, dtype=torch.float64, device=device)

    def add(self, values: Tensor) -> None:
        """Takes in values (..., C)."""
        values_NC = values.detach().reshape(-1, values.shape[-1]).to(self._sums)
        count = values_NC.new_tensor([len(values_NC)])
        self._sums += torch.cat([count, values_NC.sum(0), values_NC.square().sum(0)])

    def over_ranks(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation (C,) over all ranks, float32; a collective.

        Raises:
            DataError: there were no values on any rank.
        """
        sums = all_reduce_sum(self._sums)
        count = sums[0]
        if count == 0:
            raise DataError("no batch holds a frame that could be read, so nothing is known of the targets")
        mean_C, square_C = (sums[1:] / count).chunk(2)
        deviation_C = (square_C - mean_C.square()).clamp(min=0).sqrt().clamp(min=MIN_STD)
        return mean_C.float(), deviation_C.float()


def gathered_means(own: Means | None) -> dict[str, Tensor]:
    """Means over all ranks, of which some may have seen nothing (None); nan where nothing counts. A collective."""
    parts = {} if own is None else {name: (total.cpu(), count.cpu()) for name, (total, count) in own.parts.items()}
    sums: dict[str, tuple[Tensor, Tensor]] = {}
    for of_rank in gather_objects(parts):
        for name, (total, count) in of_rank.items():
            before = sums.get(name, (0.0, 0.0))
            sums[name] = (before[0] + total, before[1] + count)
    return {name: torch.where(count == 0, float("nan"), total / count) for name, (total, count) in sums.items()}
