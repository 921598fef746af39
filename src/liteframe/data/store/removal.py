"""Removing a whole feature store, and nothing that is not of it."""

from __future__ import annotations

from pathlib import Path

from liteframe.data.store.catalogue import read_index
from liteframe.data.store.files import (
    COMPLETE_FILE,
    INDEX_FILE,
    KEY_FILE,
    OTHER_FOLDER,
    STATISTICS_FILE,
    named_disk_errors,
    tidy,
)
from liteframe.data.store.index import read_key


def remove_store(folder: Path) -> None:
    """Removes the files of the store in `folder`, and the folder where nothing else is in it.

    Raises:
        StoreError: the folder has no key of a feature store, or a file cannot be removed.
    """
    key = read_key(folder)
    with named_disk_errors(folder, OTHER_FOLDER):
        # From here on it is no finished store; the key stays to the last, so that a kill leaves what can be removed.
        (folder / COMPLETE_FILE).unlink(missing_ok=True)
        shards = {shard.path.name for shard in read_index(folder, key) if shard.path is not None}
        tidy(folder, key.digest, (), shards)
        for name in (STATISTICS_FILE, INDEX_FILE, KEY_FILE):
            (folder / name).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()
