"""Checksums of files that are made once and read for months: what a disk made of them is found, not believed.

CRC-32 finds each change of up to 32 bits in a row, and of others all but one in four thousand million. It is there
against disks and power cuts, not against people, and is four times as fast as hashes that are.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np

BLOCK_BYTES = 1 << 16
"""Of a file that is checked part by part, as it is used: checking one takes a small part of a millisecond."""


class DamagedFile(OSError):
    """A file does not hold what was written to it; the message names it."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: does not hold what was written to it")


def checksum(values_N: np.ndarray) -> int:
    """Checksum of the bytes of an array."""
    return zlib.crc32(values_N.data)


def block_checksums(bytes_N: np.ndarray) -> np.ndarray:
    """Checksum of each block of `BLOCK_BYTES` of some bytes, the last of which may be shorter; uint32 (blocks,)."""
    blocks = [bytes_N[start : start + BLOCK_BYTES] for start in range(0, len(bytes_N), BLOCK_BYTES)]
    return np.array(list(map(checksum, blocks)), np.uint32)


def write_checked(path: Path, text: str) -> None:
    """Writes UTF-8 for `read_checked`."""
    content = text.encode()
    path.write_bytes(b"%08x\n%b" % (zlib.crc32(content), content))


def read_checked(path: Path) -> str:
    """The text that `write_checked` wrote.

    Raises:
        OSError: it cannot be read.
        DamagedFile: the file holds something else.
    """
    written, _, content = path.read_bytes().partition(b"\n")
    if written != b"%08x" % zlib.crc32(content):
        raise DamagedFile(path)
    return content.decode()


def sync_file(path: Path) -> None:
    """Waits until all of a file is on the disk."""
    with open(path, "rb+") as file:  # Windows syncs no file that is open to be read
        os.fsync(file.fileno())
