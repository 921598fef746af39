"""The tensors of a feature store: safetensors shards, and how they reach the disk whole and come back checked."""

from __future__ import annotations

import hashlib
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from liteframe.data.store.entries import Piece
from liteframe.data.store.files import named_disk_errors
from liteframe.data.store.sealed_json import canonical_json
from liteframe.errors import StoreError
from liteframe.system.atomic import atomic_open, sync_folder

REMAKE = "delete this file and run the cache stage again: it makes only what is missing"
AGAIN_REMOTE = "copy the store there again (`liteframe upload`)"
FREE_SPACE = "free some space or give another folder, then run again: what was finished before is kept"


@dataclass(frozen=True)
class Source:
    """A tensor to be written: its name, safetensors dtype, shape, and a function that gives its bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], Any]

    @property
    def nbytes(self) -> int:
        return Piece(self.dtype, self.shape, 0, 0).nbytes


@contextmanager
def open_durable(path: Path) -> Iterator[BinaryIO]:
    """`atomic_open` for files of a store: the renaming lasts through a power cut too.

    Raises:
        StoreError: naming the file, if the disk is full or the write failed.
    """
    with named_disk_errors(path, FREE_SPACE):
        with atomic_open(path) as file:
            yield file
        sync_folder(path.parent)


def write_tensors(path: Path, sources: list[Source]) -> tuple[int, str, list[Piece]]:
    """Streams tensors into one safetensors file, one at a time in memory.

    Returns:
        size in bytes, sha256, and a Piece for each source.

    Raises:
        StoreError: naming the file, if it cannot be written whole.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    bare = [Piece(source.dtype, source.shape, 0, 0) for source in sources]
    start = 0
    for source, piece in zip(sources, bare, strict=True):
        offsets = [start, start + piece.nbytes]
        header[source.name] = {"dtype": source.dtype, "shape": list(source.shape), "data_offsets": offsets}
        start += piece.nbytes
    text = canonical_json(header)
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text

    digest, written, pieces = hashlib.sha256(head), len(head), []
    with open_durable(path) as file:
        file.write(head)
        for source, piece in zip(sources, bare, strict=True):
            data = source.read()
            if len(data) != piece.nbytes:
                raise StoreError(f"{path}: tensor {source.name!r} has {len(data)} bytes, expected {piece.nbytes}")
            pieces.append(Piece(source.dtype, source.shape, written, zlib.crc32(data)))
            file.write(data)
            digest.update(data)
            written += len(data)
        if file.tell() != written:
            raise OSError(f"short write: {file.tell()} of {written} bytes")
    return written, digest.hexdigest(), pieces


def changed(data: bytearray, piece: Piece) -> bool:
    """Whether the bytes of a tensor are others than those that were written."""
    return zlib.crc32(data) != piece.crc32


def read_piece(path: Path, piece: Piece, sample_id: str, check: bool = True) -> bytearray:
    """Reads one tensor's bytes and nothing else.

    Raises:
        StoreError: naming file and sample, if the file is missing, too short, or its bytes have changed.
    """
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for
            raise StoreError(f"{path}: is not a file; {REMAKE}")
        with open(path, "rb", buffering=0) as handle:
            if found.st_size < piece.offset + piece.nbytes:
                raise StoreError(f"{path}: truncated inside sample {sample_id!r}; {REMAKE}")
            data = bytearray(piece.nbytes)
            view, have = memoryview(data), 0
            handle.seek(piece.offset)
            while have < len(data):
                got = handle.readinto(view[have:])
                if not got:
                    break
                have += got
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror or error}); {REMAKE}") from error
    except MemoryError as error:
        raise StoreError(
            f"{path}: sample {sample_id!r} has {piece.nbytes:,} bytes, more than there is memory"
        ) from error
    if have != len(data):
        raise StoreError(f"{path}: truncated inside sample {sample_id!r}; {REMAKE}")
    if check and changed(data, piece):
        raise StoreError(f"{path}: the bytes of sample {sample_id!r} have changed since they were written; {REMAKE}")
    return data


def file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
