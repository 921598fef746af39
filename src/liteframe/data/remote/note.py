"""What is known of the copy of a remote video, in a small file beside it, so that each use sees whether it changed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from liteframe.errors import DataError
from liteframe.system.atomic import atomic_write_text
from liteframe.system.bounded_text import parse_json

_MOST_BYTES = 4096
_BLOCK_BYTES = 1 << 22


@dataclass(frozen=True)
class Note:
    """A copy as it was when it was fetched.

    Attributes:
        bytes: its size.
        sha256: hexadecimal, of all of it.
        etag: the server's mark of this version, or empty.
        whole: the server told its size or a checksum, which were right, and its container is not cut.
        stamp: inode, time of change and time of the inode's change; while they are the same, so are its bytes.
    """

    bytes: int
    sha256: str
    etag: str
    whole: bool
    stamp: tuple[int, int, int]


def note_path(copy: Path) -> Path:
    return copy.with_name(f".{copy.name}.note")


def stamp_of(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns


def write_note(copy: Path, note: Note) -> None:
    """Writes it whole or not at all; after a power cut it may be lost, and the copy is fetched again."""
    atomic_write_text(note_path(copy), json.dumps(asdict(note)) + "\n", sync=False)


def read_note(copy: Path) -> Note | None:
    """The note of `copy`; None where there is none that can be read."""
    try:
        with open(note_path(copy), "rb") as file:
            value = parse_json(file.read(_MOST_BYTES), str(note_path(copy)), DataError)
        note = Note(value["bytes"], value["sha256"], value["etag"], value["whole"], tuple(value["stamp"]))
        good = (
            re.fullmatch(r"[0-9a-f]{64}", note.sha256)
            and [type(item) for item in (note.bytes, note.etag, note.whole)] == [int, str, bool]
            and [type(item) for item in note.stamp] == [int, int, int]
        )
    except (OSError, DataError, KeyError, TypeError):
        return None
    return note if good else None


def is_as_noted(copy: Path, handle: int) -> bool:
    """Whether the open file `handle`, which is `copy`, holds the bytes that were fetched.

    They are read where anything about the file is other than noted, as in a folder that was copied.
    """
    note, stat = read_note(copy), os.fstat(handle)
    if note is None:
        return False
    if stat.st_size == note.bytes and stamp_of(stat) == note.stamp:
        return True
    if stat.st_size == note.bytes and _sha256(handle) == note.sha256:
        with contextlib.suppress(OSError):  # where it may not be written, the bytes are read each time
            write_note(copy, replace(note, stamp=stamp_of(stat)))
        return True
    return False


def has_noted_bytes(copy: Path, note: Note) -> bool:
    """Whether all of `copy`, read now, is what was fetched."""
    try:
        with open(copy, "rb") as file:
            return _sha256(file.fileno()) == note.sha256
    except OSError:
        return False


def _sha256(handle: int) -> str:
    """Of the whole file; empty where the disk cannot read it."""
    digest = hashlib.sha256()
    try:
        with open(handle, "rb", buffering=0, closefd=False) as file:
            file.seek(0)
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()
