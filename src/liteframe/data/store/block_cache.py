"""Blocks of the shards of remote feature stores, in a folder that does not grow beyond its limit."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from liteframe.errors import ConfigError
from liteframe.system.atomic import atomic_open
from liteframe.system.user_cache import user_cache

log = logging.getLogger(__name__)
BLOCK_BYTES = 1 << 20
"""Of a shard; what is asked for is rounded to it."""
_BLOCK = re.compile(r"[0-9a-f]{40}\.block")
_LEFTOVER = re.compile(r"\.[0-9a-f]{40}\.block\.[0-9a-f]{16}\.part")
_STALE_S = 3600.0
_COUNT_AGAIN_S = 5.0
_KEPT_SHARE = 0.9


@dataclass
class _Usage:
    """Bytes of all blocks in a folder, and when they were counted."""

    bytes: int = 0
    counted_at: float = float("-inf")


@dataclass(frozen=True)
class StoreCache:
    """A folder of blocks of remote feature stores, shared by all processes of a machine; those not used longest go.

    Blocks are named by what is in their shard, so that a copy of a store elsewhere finds them too.

    Args:
        folder: on a local disk; made where it does not exist, and by default in the user's cache. Files in it that are
            no blocks are left alone.
        gigabytes: most that the blocks take, in 1e9 bytes; more only by what all processes write within five seconds.

    Raises:
        ConfigError: `gigabytes` is not above 0.
    """

    folder: str | None = None
    gigabytes: float = 50.0
    _usage: _Usage = field(default_factory=_Usage, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.gigabytes > 0:
            raise ConfigError(f"data.store_cache.gigabytes is {self.gigabytes}; give a number above 0")

    def read(self, shard: str, block: int, size: int) -> bytes | None:
        """A block of `size` bytes; None where it is not here.

        Args:
            shard: sha256 of the whole shard.
            block: number of it.
        """
        path = self._path(shard, block)
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        return data if len(data) == size else None

    def write(self, shard: str, block: int, data: bytes) -> None:
        """Keeps a block; what goes wrong with the disk is said, and reading goes on without."""
        path = self._path(shard, block)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._make_room(len(data))
            with atomic_open(path, sync=False) as file:  # after a power cut, the checksum of a sample tells
                file.write(data)
        except OSError as error:
            log.warning("%s: cannot be written (%s); the block is fetched again", path, error)
            return
        self._usage.bytes += len(data)

    def drop(self, shard: str, block: int) -> None:
        """Removes a block whose bytes turned out to be wrong."""
        with suppress(OSError):
            self._path(shard, block).unlink()

    @property
    def _place(self) -> Path:
        return user_cache("stores") if self.folder is None else Path(self.folder)

    def _path(self, shard: str, block: int) -> Path:
        return self._place / f"{hashlib.sha256(f'{shard} {block} {BLOCK_BYTES}'.encode()).hexdigest()[:40]}.block"

    def _make_room(self, needed: int) -> None:
        """Removes the blocks that were not used longest, to nine tenths of the limit, where one more is too much."""
        limit = self.gigabytes * 1e9
        now = time.monotonic()
        if self._usage.bytes + needed <= limit and now - self._usage.counted_at < _COUNT_AGAIN_S:
            return
        with os.scandir(self._place) as entries:
            blocks = [(entry.path, entry.stat()) for entry in entries if _is_ours(entry)]
        self._usage.bytes, self._usage.counted_at = sum(found.st_size for _, found in blocks), now
        if self._usage.bytes + needed <= limit:
            return
        for path, found in sorted(blocks, key=lambda block: block[1].st_mtime_ns):
            with suppress(OSError):  # another process was quicker, or reads it on Windows
                os.unlink(path)
            self._usage.bytes -= found.st_size
            if self._usage.bytes + needed <= limit * _KEPT_SHARE:
                return


def _is_ours(entry: os.DirEntry[str]) -> bool:
    """Whether a file is a block, or what a process that was killed left of one."""
    if _BLOCK.fullmatch(entry.name):
        return True
    with suppress(OSError):
        return bool(_LEFTOVER.fullmatch(entry.name)) and time.time() - entry.stat().st_mtime > _STALE_S
    return False
