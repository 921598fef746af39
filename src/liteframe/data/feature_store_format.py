"""The files of a feature store: tensors in safetensors shards, and how they reach the disk whole.

A folder holds ::

    key.json                    what the store was made from
    parts/rRRRRR-NNNNNN.*       what rank R has written so far (shard + sidecar), until it is finalised
    shard-NNNNN-HASH.*          the final shards: the same cut and bytes for the same content
    index.json                  one entry a line
    statistics.safetensors      mean_C and std_C
    COMPLETE                    sizes and sha256 of index and statistics; without it, there is no store

A shard counts once its sidecar is there, and the sidecar is renamed into place last. A sidecar whose shard is gone or
of another size is passed over, so those samples are computed again by the next run.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from liteframe.atomic import atomic_open
from liteframe.errors import StoreError

KEY_FILE, INDEX_FILE, STATISTICS_FILE, COMPLETE_FILE = "key.json", "index.json", "statistics.safetensors", "COMPLETE"
PARTS = "parts"
REMAKE = "delete this file and run the cache stage again: it makes only what is missing"
DTYPES = {
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
    "F64": torch.float64,
    "U8": torch.uint8,
}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Piece:
    """One tensor in a shard: where it starts in the file (bytes) and the CRC-32 of its bytes."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    crc32: int

    @property
    def nbytes(self) -> int:
        count = DTYPES[self.dtype].itemsize
        for size in self.shape:
            count *= size
        return count

    def as_json(self) -> list[Any]:
        return [self.dtype, list(self.shape), self.offset, self.crc32]

    @classmethod
    def from_json(cls, value: Any) -> Piece:
        dtype, shape, offset, crc32 = value
        if dtype not in DTYPES or offset < 8 or any(size < 0 for size in shape):
            raise ValueError(f"not a tensor of this format: {value!r}")
        return cls(dtype, tuple(shape), offset, crc32)


@dataclass(frozen=True)
class Source:
    """A tensor to be written: its name, safetensors dtype, shape, and a function that gives its bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], Any]


def canonical_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def sync_folder(folder: Path) -> None:
    """Makes renames in `folder` last through a power cut."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def open_durable(path: Path) -> Iterator[BinaryIO]:
    """`atomic_open` for files of a store: the renaming lasts through a power cut too.

    Raises:
        StoreError: naming the file, if the disk is full or the write failed.
    """
    try:
        with atomic_open(path) as file:
            yield file
        sync_folder(path.parent)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written ({error.strerror or error}); free some space or give another folder, "
            "then run again: what was finished before is kept"
        ) from error


def write_json(path: Path, value: Any) -> None:
    data = canonical_json(value)
    with open_durable(path) as file:
        file.write(data)


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


def read_piece(path: Path, piece: Piece, sample_id: str, check: bool = True) -> bytearray:
    """Reads one tensor's bytes and nothing else.

    Raises:
        StoreError: naming file and sample, if the file is missing, too short, or its bytes have changed.
    """
    data = bytearray(piece.nbytes)
    view, have = memoryview(data), 0
    try:
        with open(path, "rb", buffering=0) as handle:
            handle.seek(piece.offset)
            while have < len(data):
                got = handle.readinto(view[have:])
                if not got:
                    break
                have += got
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror or error}); {REMAKE}") from error
    if have != len(data):
        raise StoreError(f"{path}: truncated inside sample {sample_id!r}; {REMAKE}")
    if check and zlib.crc32(data) != piece.crc32:
        raise StoreError(f"{path}: the bytes of sample {sample_id!r} have changed since they were written; {REMAKE}")
    return data


def file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
