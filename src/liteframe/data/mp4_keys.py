"""Whether samples that an MP4 file calls key frames begin as those of their codec do, by their first bytes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from liteframe.data.mp4_samples import Samples

_HEAD_BYTES = 512
_UNITS = 64
_H264_IDR = 5
_HEVC_RANDOM_ACCESS = range(16, 24)
_AV1_SEQUENCE_HEADER, _AV1_DELIMITER = 1, 2

KeyTest = Callable[[BinaryIO, int, int, int], bool]
"""Of a file, where a sample begins, its bytes, and the bytes of the length in front of each of its units."""


def all_keys_are(codec: str, file: BinaryIO, samples: Samples, begin: int, length_bytes: int) -> bool:
    """Whether all key samples from the sample `begin` on are what the tables say; then FFmpeg calls them so, too.

    Args:
        codec: one of `KEY_TESTS`.
        file: the whole file.
        samples: of its track.
        begin: the first sample that is read.
        length_bytes: of the length in front of each unit of H.264 or HEVC; 0 where none is.
    """
    keys_K = begin + np.flatnonzero(samples.key_S[begin:])
    starts_K, sizes_K = samples.offsets_S[keys_K].tolist(), samples.sizes_S[keys_K].tolist()
    test = KEY_TESTS[codec]
    return all(test(file, start, size, length_bytes) for start, size in zip(starts_K, sizes_K, strict=True))


def _has_unit(file: BinaryIO, start: int, size: int, length_bytes: int, wanted: Callable[[int], bool]) -> bool:
    """Whether a sample has a unit whose first byte is as wanted, reading no more than the first bytes of each."""
    if not length_bytes:
        return False
    position, end = start, start + size
    for _ in range(_UNITS):
        if position + length_bytes >= end:
            return False
        head = _read(file, position, length_bytes + 1)
        if wanted(head[length_bytes]):
            return True
        position += length_bytes + int.from_bytes(head[:length_bytes], "big")
    return False


def _h264(file: BinaryIO, start: int, size: int, length_bytes: int) -> bool:
    return _has_unit(file, start, size, length_bytes, lambda first: first & 31 == _H264_IDR)


def _hevc(file: BinaryIO, start: int, size: int, length_bytes: int) -> bool:
    return _has_unit(file, start, size, length_bytes, lambda first: first >> 1 & 63 in _HEVC_RANDOM_ACCESS)


def _vp9(file: BinaryIO, start: int, size: int, length_bytes: int) -> bool:
    first = _read(file, start, 1)[0]
    in_fourth_profile = first >> 4 & 3 == 3
    shown_before, kind = (first >> 2 & 1, first >> 1 & 1) if in_fourth_profile else (first >> 3 & 1, first >> 2 & 1)
    return first >> 6 == 2 and not shown_before and kind == 0


def _av1(file: BinaryIO, start: int, size: int, length_bytes: int) -> bool:
    return _read(file, start, 1)[0] >> 3 & 15 in (_AV1_SEQUENCE_HEADER, _AV1_DELIMITER)


def _mpeg4(file: BinaryIO, start: int, size: int, length_bytes: int) -> bool:
    picture = re.search(rb"\x00\x00\x01\xb6(.)", _read(file, start, min(size, _HEAD_BYTES)), re.DOTALL)
    return picture is not None and picture[1][0] >> 6 == 0


def _prores(file: BinaryIO, start: int, size: int, length_bytes: int) -> bool:
    return True


def _read(file: BinaryIO, start: int, count: int) -> bytes:
    file.seek(start)
    return file.read(count).ljust(count, b"\0")


KEY_TESTS: dict[str, KeyTest] = {
    "h264": _h264,
    "hevc": _hevc,
    "vp9": _vp9,
    "av1": _av1,
    "mpeg4": _mpeg4,
    "prores": _prores,
}
"""By codec; frames of others are not told by tables alone."""
