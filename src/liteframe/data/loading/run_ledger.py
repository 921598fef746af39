"""The list of skips in the folder of a run, which several ranks share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from liteframe.data.loading.skips import SkipLedger, Skipped, set_aside
from liteframe.data.sources.id_keys import IdSet, id_keys
from liteframe.data.sources.row_table import RowTable
from liteframe.data.store.feature_store import FeatureStore


def writes_nothing(trainer: Any) -> bool:
    """Whether a run is a trial, which leaves its folder as it was."""
    return bool(trainer.fast_dev_run or getattr(trainer.lightning_module, "only_estimate", False))


def open_ledger(
    trainer: Any, verb: str, tables: Sequence[RowTable], store: FeatureStore | None, max_fraction: float
) -> tuple[SkipLedger, bytes]:
    """The list of this run, with the rows that are known to be unusable, and what `SkipLedger.go_on` takes.

    Args:
        trainer: of the run.
        verb: fit, validate, test or predict.
        tables: rows that are read in it.
        store: whose entries are read in it.
        max_fraction: share of skipped rows above which the run stops.

    Raises:
        SkipLimitExceeded: there are more unusable ones already.
    """
    ids = [] if store is None else store.sample_ids()
    known_N = np.concatenate([*(rows.keys_N for rows in tables), id_keys(ids)])
    path, keep, earlier = Path(trainer.default_root_dir) / "skipped.jsonl", not writes_nothing(trainer), b""
    if keep:  # rank 0 first, so that none writes into a list that is moved
        earlier = trainer.strategy.broadcast(set_aside(path, verb) if trainer.is_global_zero else b"")
    ledger = SkipLedger(path, len(known_N), max_fraction, IdSet(known_N), verb, keep)
    unusable = [rows[index] for rows in tables for index in rows.errors]
    if unusable:  # known to every rank, so all of them stop here if they are too many
        skips = [Skipped(row.path, row.id, row.error or "") for row in unusable]
        ledger.expect(skips, write=trainer.is_global_zero)
    return ledger, earlier
