"""Records of numbers that a user names a file for: one of liteframe's is written anew, anything else stays."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from liteframe.errors import ConfigError
from liteframe.system.bounded_text import parse_json

_MOST_BYTES = 256_000_000


def require_own_record(path: str | os.PathLike[str], fields: Collection[str], setting: str) -> None:
    """To be called before the work whose record goes to `path`; makes its folder.

    Args:
        path: of the record.
        fields: that every such record has.
        setting: by which the path is given, for the message.

    Raises:
        ConfigError: something else is there, or nothing can be written there.
    """
    target = Path(path)
    advice = "give another file"
    if target.is_dir():
        raise ConfigError(f"{setting} {path}: is a folder; give a file in it")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        data = target.read_bytes() if target.exists() and target.stat().st_size < _MOST_BYTES else b"{}"
    except OSError as error:
        raise ConfigError(f"{setting} {path}: cannot be written ({error.strerror or error}); {advice}") from error
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise ConfigError(f"{setting} {path}: nothing can be written in {target.parent}; {advice}")
    if target.exists() and not _is_own(data, fields):
        raise ConfigError(f"{setting} {path}: is there, and is no such record; {advice}, or move it away")


def _is_own(data: bytes, fields: Collection[str]) -> bool:
    try:
        record = parse_json(data, "record")
    except ConfigError:
        return False
    return isinstance(record, dict) and {*fields} <= {*record}
