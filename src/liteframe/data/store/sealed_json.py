"""The JSON files of a feature store: sealed with a checksum where they are written, bounded where they are read."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

from liteframe.errors import StoreError
from liteframe.system.bounded_text import parse_json
from liteframe.system.contained_path import OutsideRoot, contained

_SEAL = re.compile(rb',"checksum":"([0-9a-f]{64})"\}\Z')


def canonical_json(value: Any) -> bytes:
    """The one text of a value. ValueError for NaN and infinity."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def sealed(value: dict[str, Any]) -> bytes:
    """Canonical JSON of a dict that is not empty, its last field the sha256 of all that stands before it."""
    body = canonical_json(value)[:-1]
    return body + b',"checksum":"' + hashlib.sha256(body).hexdigest().encode() + b'"}'


def unseal(data: bytes, where: str) -> tuple[dict[str, Any], bool]:
    """The dict that `sealed` wrote, and whether it has a checksum at all; older versions wrote none.

    Raises:
        StoreError: the bytes are not those of the checksum, or no JSON object.
    """
    seal = _SEAL.search(data, max(0, len(data) - 128))
    if seal and hashlib.sha256(data[: seal.start()]).hexdigest() != seal[1].decode():
        raise StoreError(f"{where}: changed since it was written")
    try:
        value = parse_json(data, where, StoreError)
        canonical_json(value)
    except (StoreError, ValueError) as error:
        raise StoreError(f"{where}: is damaged, or not of a feature store") from error
    if not isinstance(value, dict) or (seal is None and "checksum" in value):
        raise StoreError(f"{where}: changed since it was written, or not of a feature store")
    value.pop("checksum", None)
    return value, seal is not None


def has_seal(data: bytes) -> bool:
    """Whether these bytes end as sealed ones do, right or not."""
    return _SEAL.search(data[-128:]) is not None


def inside(folder: Path, name: str) -> Path:
    """The path of `name` in `folder`. Raises StoreError where it, or a link of that name, leads out of it."""
    try:
        return contained(folder, name)
    except OutsideRoot as error:
        raise StoreError(f"{folder}: {error}; files of a feature store lie in its folder") from error


def read_bounded(path: Path, most: int) -> bytes:
    """All bytes of a file.

    Raises:
        FileNotFoundError: there is none.
        StoreError: it has more than `most` bytes, is no regular file, or cannot be read.
    """
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise StoreError(f"{path}: is not a file")
        if found.st_size > most:
            raise StoreError(f"{path}: has {found.st_size:,} bytes, more than the {most:,} that it may have")
        with open(path, "rb") as file:
            return file.read(most + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror or error})") from error
