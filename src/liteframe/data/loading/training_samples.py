"""Which samples a training run draws from. A run that goes on keeps to those that it began with, in their order.

The order of a pass follows from the number of samples, so a row that is taken out of a list or put in would change
every batch. A checkpoint therefore holds a key of each sample: what is gone leaves its place empty, as a skipped video
does, what is new waits for the next run, and all else comes in the batches that it would have come in.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from liteframe.data.loading.mixing import Mixture
from liteframe.data.sources.id_keys import id_keys, numbered
from liteframe.data.sources.row_table import RowTable
from liteframe.errors import ConfigError, ManifestError

GONE = -1


@dataclass(frozen=True)
class TrainingSamples:
    """The samples of a run.

    Attributes:
        keys_N: int64, what each sample is known by; see `RowTable.sample_keys_N`.
        places_N: int64, index of each sample's row (or entry of a store); `GONE` where it is not there any more.
        mixture: the lists that they come from, and in which shares.
        new: places of samples that the run did not begin with, and that take no part in it.
    """

    keys_N: np.ndarray
    places_N: np.ndarray
    mixture: Mixture
    new: tuple[int, ...] = ()

    @property
    def gone(self) -> int:
        """How many are not there any more."""
        return int((self.places_N == GONE).sum())

    def describe(self) -> dict[str, Any]:
        """A digest of the samples and their order."""
        return {"samples": hashlib.sha256(self.keys_N.astype("<i8").tobytes()).hexdigest()}

    def state(self) -> torch.Tensor:
        """What a checkpoint holds of them, int64 (N,)."""
        return torch.tensor(self.keys_N)

    def going_on(self, state: torch.Tensor, sizes: Sequence[int] | None) -> TrainingSamples:
        """The samples of a checkpoint, each at its place in the lists of now.

        Args:
            state: of the run that the checkpoint is of.
            sizes: of its lists, where they were mixed by weight.

        Raises:
            ConfigError: less than half of its samples are there.
        """
        keys_N = state.cpu().numpy()
        if np.array_equal(keys_N, self.keys_N):
            return self
        order_M = np.argsort(self.keys_N, kind="stable")
        nearest_N = np.minimum(np.searchsorted(self.keys_N, keys_N, sorter=order_M), len(order_M) - 1)
        candidates_N = order_M[nearest_N]
        is_there_N = self.keys_N[candidates_N] == keys_N
        if 2 * is_there_N.sum() < len(keys_N):
            raise ConfigError(
                f"data: {int((~is_there_N).sum())} of the {len(keys_N)} training samples of the checkpoint are not in"
                " this run's lists (by the ids that rows give themselves, or else by their content), so the run cannot"
                " go on from it; set the lists back, or start a new run"
            )
        mixture = self.mixture
        if sizes is None:
            mixture = mixture if mixture.weights else Mixture([len(keys_N)])
        elif mixture.weights and len(sizes) == len(mixture.rows):
            mixture = Mixture(sizes, mixture.weights)
        new_M = ~np.isin(self.keys_N, keys_N)
        places_N = np.where(is_there_N, self.places_N[candidates_N], GONE)
        return TrainingSamples(keys_N, places_N, mixture, tuple(self.places_N[new_M].tolist()))


def of_rows(rows: RowTable, weights: Sequence[float | None]) -> TrainingSamples:
    """The samples of a run that begins, from lists of these weights.

    Rows that cannot be used are none: so they do not count in the order, and may be repaired or taken out.

    Raises:
        ManifestError: no row can be used.
    """
    usable_N = rows.usable_N
    if rows.errors and not len(usable_N):
        first = next(iter(rows.errors.values()))
        raise ManifestError(f"none of the {len(rows)} rows of data.train can be used; the first: {first}")
    bounds = np.searchsorted(usable_N, np.cumsum([0, *rows.sizes]))
    keys_N = rows.sample_keys_N[usable_N] if rows.errors else rows.sample_keys_N
    return TrainingSamples(keys_N, usable_N, Mixture(np.diff(bounds).tolist(), weights))


def of_all_rows(rows: RowTable, weights: Sequence[float | None]) -> TrainingSamples:
    """As `of_rows`, but rows that cannot be used are samples too, and leave their places empty."""
    places_N = np.full(len(rows), GONE)
    places_N[rows.usable_N] = rows.usable_N
    return TrainingSamples(rows.sample_keys_N, places_N, Mixture(rows.sizes, weights))


def of_contents(contents: Iterable[str]) -> TrainingSamples:
    """The same from what the entries of a feature store were made of."""
    keys_N = numbered(id_keys(contents))
    return TrainingSamples(keys_N, np.arange(len(keys_N)), Mixture([len(keys_N)]))


def require_ids(described: dict[str, Any], ids: Sequence[str]) -> None:
    """For a checkpoint of a version that kept a digest of all ids in place of a key of each sample.

    Args:
        described: what the checkpoint says of its training data.
        ids: of all rows of now, or entries of the store.

    Raises:
        ConfigError: they are not those of the checkpoint, or not in that order.
    """
    if described.get("samples") != hashlib.sha256(json.dumps(ids).encode()).hexdigest():
        raise ConfigError(
            "data: the checkpoint was made by an earlier version, and goes on with the same rows in the same order"
            f" only, but this run's lists have others ({described.get('rows')} rows in the checkpoint, {len(ids)} now);"
            " set the lists back, or start a new run"
        )


def report_changes(samples: TrainingSamples, id_of: Callable[[int], str]) -> None:
    """Says on stderr what of the lists has changed since the checkpoint, if anything.

    Args:
        samples: of the run that goes on.
        id_of: id of the row or entry at a place.
    """
    notes = []
    if samples.gone:
        gone = (
            "samples is gone, and its place stays" if samples.gone == 1 else "samples are gone, and their places stay"
        )
        notes.append(f"{samples.gone} of {len(samples.keys_N)} {gone} empty")
    if samples.new:
        first = ascii(id_of(samples.new[0]))
        one, many = f"1 is new ({first}), and waits", f"{len(samples.new)} are new (the first: {first}), and wait"
        notes.append(f"{one if len(samples.new) == 1 else many} for a new run")
    if notes:
        print(f"train, since the checkpoint: {'; '.join(notes)}; all others come as they would have", file=sys.stderr)
