"""``liteframe merge``."""

from __future__ import annotations

from pathlib import Path

from liteframe.errors import ConfigError


def merge_command(store: str) -> int:
    """Make one feature store of the shards that `liteframe predict --shard i/N` has made, once all are there.

    Args:
        store: folder of the store, `model.store` of the config.

    Raises:
        LiteFrameError: a shard is missing, being made, damaged, or of another config or list; names it.
    """
    if not Path(store).is_dir():
        raise ConfigError(f"{store}: no such folder; give that of the feature store")
    from liteframe.data.store.merge import merge

    made = merge(store)
    skipped = f"; {len(made.skipped)} skipped" if made.skipped else ""
    print(f"stored {len(made):,} samples in {store}{skipped}")
    return 0
