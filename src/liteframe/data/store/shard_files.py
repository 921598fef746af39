"""Where the shards of a feature store are read from: files on disk, or objects, by ranges of their bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from liteframe.data.remote.fetched import fetched_files
from liteframe.data.remote.file import is_url, protocol_of
from liteframe.data.remote.objects import facts_of, objects_below, read_range
from liteframe.data.store.block_cache import BLOCK_BYTES, StoreCache
from liteframe.data.store.entries import Piece
from liteframe.data.store.files import COMPLETE_FILE, INDEX_FILE, KEY_FILE, STATISTICS_FILE
from liteframe.data.store.format import AGAIN_REMOTE, changed, file_sha256, read_piece
from liteframe.errors import ConfigError, StoreError
from liteframe.system.shown_url import shown_url

_LEAST_AHEAD, _MOST_AHEAD = 4, 32
_STREAMED_BYTES = 32 << 20


@contextmanager
def facts_folder(store: str | Path, names: Iterable[str] = ()) -> Iterator[Path]:
    """The folder that holds what a store says of itself: its own, or, of one at an address, copies as they are now.

    Args:
        store: folder or address.
        names: of those files, if not all of them are wanted.

    Raises:
        StoreError: they cannot be fetched. Errors in the body that name the copies name the address.
    """
    if not is_url(str(store)):
        yield Path(store)
        return
    url = str(store).rstrip("/")
    files = tuple(names) or (KEY_FILE, INDEX_FILE, STATISTICS_FILE, COMPLETE_FILE)
    try:
        folder = fetched_files(url, files)
    except ConfigError as error:
        raise StoreError(str(error)) from error
    try:
        yield folder
    except StoreError as error:
        raise type(error)(str(error).replace(str(folder), shown_url(url))) from error


class ShardFiles:
    """The shards of a store on disk."""

    def size(self, path: Path) -> int | None:
        """Bytes of a shard; None where it is not there."""
        return path.stat().st_size if path.is_file() else None

    def sha256(self, path: Path) -> str:
        """Of a whole shard."""
        return file_sha256(path)

    def read(self, path: Path, piece: Piece, sample_id: str, check: bool = True) -> bytearray:
        """Bytes of a tensor; as `read_piece`."""
        return read_piece(path, piece, sample_id, check)


class RemoteShards(ShardFiles):
    """The shards of a store at an address.

    What is asked for is rounded to blocks of 1 MiB. Those that are not in the cache come in one request for each run of
    them, and where samples are read in the order of the shard, a request takes those ahead too: 4 blocks, then twice as
    many each time, 32 at most.

    Args:
        url: of the store.
        shards: size and sha256 of each shard by its name.
        cache: of blocks.
    """

    def __init__(self, url: str, shards: dict[str, tuple[int, str]], cache: StoreCache) -> None:
        self._url, self._shards, self._cache = url.rstrip("/"), shards, cache
        self._sizes: dict[str, int | None] | None = None
        self._at: dict[str, int] = {}
        self._ahead: dict[str, int] = {}

    def size(self, path: Path) -> int | None:
        if self._sizes is None and protocol_of(self._url) not in ("http", "https"):  # one listing instead of many HEADs
            self._sizes = {name: facts.bytes for name, facts in objects_below(self._url).items()}
        if self._sizes is not None:
            return self._sizes.get(path.name)
        facts = facts_of(self._address(path))
        return None if facts is None else facts.bytes

    def sha256(self, path: Path) -> str:
        digest, size = hashlib.sha256(), self._shards[path.name][0]
        for start in range(0, size, _STREAMED_BYTES):
            digest.update(self._range(path, start, min(start + _STREAMED_BYTES, size)))
        return digest.hexdigest()

    def read(self, path: Path, piece: Piece, sample_id: str, check: bool = True) -> bytearray:
        """As `read_piece`; bytes that are not those of the index are dropped from the cache and fetched once more."""
        data = self._read(path, piece)
        if not check or not changed(data, piece):
            return data
        for block in self._blocks(piece):
            self._cache.drop(self._shards[path.name][1], block)
        data = self._read(path, piece)
        if changed(data, piece):
            raise StoreError(
                f"{shown_url(self._address(path))}: the bytes of sample {sample_id!r} have changed since they were"
                f" written; {AGAIN_REMOTE}"
            )
        return data

    def _read(self, path: Path, piece: Piece) -> bytearray:
        size, shard = self._shards[path.name]
        blocks = self._blocks(piece)
        found = {
            block: self._cache.read(shard, block, self._end(block, size) - block * BLOCK_BYTES) for block in blocks
        }
        missing = [block for block, data in found.items() if data is None]
        if missing:
            end = min(blocks.stop + self._blocks_ahead(path.name, blocks[0]), -(-size // BLOCK_BYTES))
            for run in _runs([*missing, *range(blocks.stop, end)]):
                start = run[0] * BLOCK_BYTES
                data = self._range(path, start, min((run[-1] + 1) * BLOCK_BYTES, size))
                for block in run:
                    at = block * BLOCK_BYTES - start
                    found[block] = data[at : at + BLOCK_BYTES]
                    self._cache.write(shard, block, data[at : at + BLOCK_BYTES])
        self._at[path.name] = blocks[-1]
        joined = bytearray().join(found[block] or b"" for block in blocks)
        start = piece.offset - blocks[0] * BLOCK_BYTES
        return joined[start : start + piece.nbytes]

    def _blocks_ahead(self, name: str, first: int) -> int:
        """How many blocks behind those asked for are fetched too."""
        last = self._at.get(name)
        is_next = last is not None and first in (last, last + 1)
        self._ahead[name] = min(_MOST_AHEAD, max(_LEAST_AHEAD, 2 * self._ahead.get(name, 0))) if is_next else 0
        return self._ahead[name]

    @staticmethod
    def _blocks(piece: Piece) -> range:
        return range(piece.offset // BLOCK_BYTES, -(-(piece.offset + piece.nbytes) // BLOCK_BYTES))

    @staticmethod
    def _end(block: int, size: int) -> int:
        return min((block + 1) * BLOCK_BYTES, size)

    def _range(self, path: Path, start: int, end: int) -> bytes:
        try:
            return read_range(self._address(path), start, end)
        except ConfigError as error:
            raise StoreError(str(error)) from error

    def _address(self, path: Path) -> str:
        return f"{self._url}/{path.name}"


def _runs(blocks: Iterable[int]) -> Iterator[list[int]]:
    """Numbers that follow each other."""
    run: list[int] = []
    for block in blocks:
        if run and block != run[-1] + 1:
            yield run
            run = []
        run.append(block)
    if run:
        yield run
