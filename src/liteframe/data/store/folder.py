"""Whether a folder is one that a feature store may be written into; asked before the work."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from liteframe.data.store.files import INDEX_FILE, KEY_FILE, OTHER_FOLDER, foreign_files, named_disk_errors
from liteframe.data.store.index import Index, read_key
from liteframe.data.store.key import StoreKey
from liteframe.errors import StoreError

_PROBE_BYTES = 1 << 20


def stored_key(folder: Path) -> StoreKey | None:
    """The key of the store in `folder`, or of its index where the key itself is missing; None where there is none yet.

    Raises:
        StoreError: the key is damaged, or the folder holds other things and no store; names one of them.
    """
    if not folder.exists() and not folder.is_symlink():
        return None
    if not folder.is_dir():
        raise StoreError(f"{folder}: is no folder, and a feature store is to be written there; give another one")
    if (folder / KEY_FILE).exists():
        return read_key(folder)
    if (folder / INDEX_FILE).exists():
        try:
            return Index.read(folder).key
        except StoreError as error:
            raise _not_ours(folder, INDEX_FILE) from error
    foreign = foreign_files(folder)
    if foreign:
        raise _not_ours(folder, str(foreign[0].relative_to(folder)))
    return None


def _not_ours(folder: Path, name: str) -> StoreError:
    return StoreError(f"{folder}: is not empty, and holds {name} but no feature store; give another folder")


def require_writable(folder: Path) -> None:
    """Makes `folder` and tries whether a store can be written into it.

    Raises:
        StoreError: it holds other things and no store, is read-only, or the disk is full.
    """
    with named_disk_errors(folder, OTHER_FOLDER):
        stored_key(folder)
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{KEY_FILE}.{secrets.token_hex(8)}.part"  # a name that is tidied up after a kill
        try:
            with open(probe, "wb") as file:
                file.write(bytes(_PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        finally:
            probe.unlink(missing_ok=True)
