"""Several sources of training samples, mixed by weight: which sample comes at which place of a pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from liteframe.errors import ConfigError

_ORDER_STREAM = 2
_SOURCE_STREAM = 4


class Mixture:
    """The order of the samples in each pass, as a function of the seed and the number of the pass alone.

    A pass is as long as the sources together. Without weights it is one seeded permutation of everything. With weights
    each source has its share of the places, the same in every pass, at random places; it fills them with permutations
    of its own samples, one after the other, so a source with more places than samples repeats none before all others
    have come, and one with fewer goes on in the next pass.

    Args:
        rows: number of samples of each source; those of the first have the indices from 0 on, and so forth.
        weights: share of each source, relative to each other; None for no mixing.

    Raises:
        ConfigError: a weight is missing or not above 0, or too small to give one sample in a pass.
    """

    def __init__(self, rows: Sequence[int], weights: Sequence[float | None] | None = None) -> None:
        self.rows = list(rows)
        self.weights: list[float] | None = None
        self.places = self.rows
        given = [weight for weight in weights or [] if weight is not None]
        if not given:
            return
        if len(given) < len(self.rows) or not all(0 < weight < float("inf") for weight in given):
            raise ConfigError(
                f"data.train: the weights of the sources are {list(weights or [])}; give each a number above 0, or give"
                " none"
            )
        if 0 in self.rows:
            raise ConfigError(f"data.train: source {self.rows.index(0)} has no row that can be used; leave it out")
        self.weights = [float(weight) for weight in given]
        self.places = _apportion(sum(self.rows), self.weights)
        if 0 in self.places:
            number = self.places.index(0)
            raise ConfigError(
                f"data.train: source {number} gets no sample of a pass of {sum(self.rows)} by its weight of"
                f" {self.weights[number]:g} among {self.weights}; raise it, or leave the source out"
            )

    def order(self, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Index of the sample at each place of a pass, and how often its source had been through by then: (N,) each."""
        rng = np.random.default_rng([seed, _ORDER_STREAM, epoch])
        if self.weights is None:
            order_N = rng.permutation(sum(self.rows))
            return order_N, np.broadcast_to(epoch, order_N.shape)
        source_N = rng.permutation(np.repeat(np.arange(len(self.rows)), self.places))
        order_N, passes_N = np.empty_like(source_N), np.empty_like(source_N)
        first = 0
        for number, (rows, places) in enumerate(zip(self.rows, self.places, strict=True)):
            drawn_P = np.arange(epoch * places, (epoch + 1) * places)
            own_P = np.empty_like(drawn_P)
            for own_pass in range(drawn_P[0] // rows, drawn_P[-1] // rows + 1):
                within_P = drawn_P // rows == own_pass
                shuffled = np.random.default_rng([seed, _SOURCE_STREAM, number, own_pass]).permutation(rows)
                own_P[within_P] = shuffled[drawn_P[within_P] % rows]
            order_N[source_N == number] = first + own_P
            passes_N[source_N == number] = drawn_P // rows
            first += rows
        return order_N, passes_N

    def describe(self) -> dict[str, Any]:
        """What the order depends on beside the seed; nothing without weights."""
        return (
            {}
            if self.weights is None
            else {"sources": [list(pair) for pair in zip(self.rows, self.weights, strict=True)]}
        )


def _apportion(total: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers that add up to `total`, in the proportion of `weights`, by largest remainders."""
    shares = np.array(weights) / max(weights)  # their sum is finite, whatever the weights
    quotas = shares / shares.sum() * total
    counts = np.floor(quotas).astype(int)
    for number in np.argsort(counts - quotas, kind="stable")[: total - counts.sum()]:
        counts[number] += 1
    return counts.tolist()
