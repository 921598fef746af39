"""The seed of a run, where a setting gives none of its own."""

from __future__ import annotations

import os


def own_or_run_seed(seed: int | None) -> int:
    """`seed`, or where it is None that of ``--seed_everything``: 0 unless it was given.

    Lightning's `seed_everything` leaves it in the environment for the processes of all ranks.
    """
    return int(os.environ.get("PL_GLOBAL_SEED", 0)) if seed is None else seed
