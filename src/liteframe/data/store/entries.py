"""The samples of a feature store, as its indexes list them: read from text that nobody vouches for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from liteframe.data.store.sealed_json import canonical_json

DTYPES = {
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
    "F64": torch.float64,
    "U8": torch.uint8,
}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_EXPONENTS: dict[str, tuple[type[np.unsignedinteger[Any]], int]] = {
    "BF16": (np.uint16, 0x7F80),
    "F16": (np.uint16, 0x7C00),
    "F32": (np.uint32, 0x7F80_0000),
    "F64": (np.uint64, 0x7FF0_0000_0000_0000),
}
MOST_TENSOR_BYTES = 1 << 32
_MOST_CHANNELS = 1 << 20


def require(condition: object, what: str) -> None:
    """Raises ValueError, saying what is wrong, unless `condition` holds."""
    if not condition:
        raise ValueError(what)


def is_whole(value: Any, low: int, high: int) -> bool:
    """Whether `value` is a whole number from `low` to `high`."""
    return type(value) is int and low <= value <= high


def require_fields(value: Any, names: Collection[str], what: str) -> None:
    """Raises ValueError unless `value` is a dict of exactly these fields."""
    require(isinstance(value, Mapping) and {*value} == {*names}, f"{what} has not the fields {', '.join(names)}")


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
    def from_json(cls, value: Any, shard_bytes: int, what: str) -> Piece:
        """A tensor of 4 axes. Raises ValueError where it cannot be one, or does not lie in a shard of so many bytes."""
        require(isinstance(value, list) and len(value) == 4, f"{what} is not dtype, shape, offset and CRC-32")
        dtype, shape, offset, crc32 = value
        require(isinstance(dtype, str) and dtype in DTYPES, f"{what} is of no known dtype")
        good = isinstance(shape, list) and len(shape) == 4 and all(is_whole(n, 1, MOST_TENSOR_BYTES) for n in shape)
        require(good, f"{what} has no shape of 4 numbers above 0")
        require(is_whole(crc32, 0, 0xFFFFFFFF), f"{what} has no CRC-32")
        require(is_whole(offset, 8, shard_bytes), f"{what} does not start in its shard")
        piece = cls(dtype, tuple(shape), offset, crc32)
        require(piece.nbytes <= MOST_TENSOR_BYTES, f"{what} takes {piece.nbytes:,} bytes")
        require(offset + piece.nbytes <= shard_bytes, f"{what} goes on behind the end of its shard")
        return piece


@dataclass(frozen=True)
class Entry:
    """One sample: its record (path, frame_indices, valid_frames, ...) and where its tensors lie."""

    sample_id: str
    record: dict[str, Any]
    targets: Piece
    frames: Piece | None

    def as_json(self) -> dict[str, Any]:
        frames = None if self.frames is None else self.frames.as_json()
        return {"id": self.sample_id, "targets": self.targets.as_json(), "frames": frames, "record": self.record}

    @classmethod
    def from_json(cls, value: Any, shard_bytes: int) -> Entry:
        """Raises ValueError, saying what is wrong, where `value` lists no sample of a shard of so many bytes."""
        require_fields(value, ("id", "targets", "frames", "record"), "an entry")
        sample_id, record = value["id"], value["record"]
        require(isinstance(sample_id, str) and sample_id, "an entry has no id")
        require(isinstance(record, dict), "an entry has no record")
        canonical_json(record)  # Python's own parser takes NaN, which is no JSON
        targets = Piece.from_json(value["targets"], shard_bytes, "targets")
        require(targets.dtype != "U8" and targets.shape[-1] <= _MOST_CHANNELS, "targets are no features")
        frames = None if value["frames"] is None else Piece.from_json(value["frames"], shard_bytes, "frames")
        require(frames is None or frames.dtype == "U8", "frames are not of bytes")
        return cls(sample_id, record, targets, frames)


def is_finite(data: bytearray, dtype: str) -> bool:
    """Whether the bytes of a tensor hold neither NaN nor infinity: by their bits, faster than a CRC-32."""
    kind, exponent = _EXPONENTS[dtype]
    return not bool(((np.frombuffer(data, kind) & kind(exponent)) == exponent).any())


def source_of(record: Mapping[str, Any]) -> tuple[str, tuple[int, ...], str | None]:
    """The video, the frames that were taken, without padding, and the decoder that read them.

    Raises:
        ValueError: the record does not say so.
    """
    path, indices, valid, decoder = (record.get(n) for n in ("path", "frame_indices", "valid_frames", "decoder"))
    require(isinstance(path, str) and path, "field path: names no video")
    good = isinstance(indices, list) and all(is_whole(index, -1, 1 << 53) for index in indices)
    require(good, "field frame_indices: is no list of whole numbers")
    assert isinstance(path, str) and isinstance(indices, list)
    require(is_whole(valid, 1, len(indices)), "field valid_frames: is not from 1 to the number of frames")
    require(decoder is None or isinstance(decoder, str), "field decoder: is no name")
    chosen = tuple(indices[:valid])
    require(min(chosen) >= 0, "field frame_indices: has padding among the frames")
    return path, chosen, decoder
