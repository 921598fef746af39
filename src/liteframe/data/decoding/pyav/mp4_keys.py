"""Whether samples that an MP4 file calls key frames begin as those of their codec do, by their first bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from typing import Any, BinaryIO

import numpy as np

from liteframe.data.decoding import heartbeat
from liteframe.data.decoding.bitstream.nal_units import Units
from liteframe.data.decoding.bitstream.parameter_sets import ParameterSets
from liteframe.data.decoding.containers.mp4_samples import Samples

_HEAD_BYTES = 512
_UNITS, _MOST_UNIT = 64, 1 << 16
_H264_IDR = 5
_HEVC_RANDOM_ACCESS = range(16, 24)
_AV1_SEQUENCE_HEADER, _AV1_DELIMITER = 1, 2

KeyTest = Callable[[BinaryIO, int, int, Units], bytes | None]
"""Of a file, where a sample begins, its bytes, and how its units are laid out: what stands before its picture, None
where that is no key frame of the codec."""


def all_keys_are(codec: str, file: BinaryIO, samples: Samples, begin: int, stream: Any) -> bool:
    """Whether all key samples from the sample `begin` on are what the tables say; then FFmpeg calls them so, too.

    And whether decoding may begin at each of them, by the parameters that it then knows.

    Args:
        codec: one of `KEY_TESTS`.
        file: the whole file.
        samples: of its track.
        begin: the first sample that is read.
        stream: of PyAV.
    """
    keys_K = begin + np.flatnonzero(samples.key_S[begin:])
    starts_K, sizes_K = samples.offsets_S[keys_K].tolist(), samples.sizes_S[keys_K].tolist()
    test, units = KEY_TESTS[codec], Units(codec, bytes(stream.codec_context.extradata or b""))
    parameters = ParameterSets(stream)
    for start, size in zip(starts_K, sizes_K, strict=True):
        heartbeat.step()
        before = test(file, start, size, units)
        if before is None or not parameters.are_known_in(before, True):
            return False
    return True


def _before_picture(
    file: BinaryIO, start: int, size: int, units: Units, pictures: range, wanted: Container[int]
) -> bytes | None:
    """The units in front of the first picture, with the first bytes of that; None where it is of another kind."""
    if not units.length_bytes:
        return None
    position, end, before = start, start + size, b""
    for _ in range(_UNITS):
        if position + units.length_bytes >= end:
            return None
        head = _read(file, position, units.length_bytes + 1)
        kind, whole = units.kind(head[units.length_bytes :]), int.from_bytes(head[: units.length_bytes], "big")
        if kind in pictures:
            return before + head if kind in wanted else None
        if whole <= _MOST_UNIT:
            before += _read(file, position, units.length_bytes + min(whole, end - position))
        position += units.length_bytes + whole
    return None


def _h264(file: BinaryIO, start: int, size: int, units: Units) -> bytes | None:
    return _before_picture(file, start, size, units, range(1, 6), (_H264_IDR,))


def _hevc(file: BinaryIO, start: int, size: int, units: Units) -> bytes | None:
    return _before_picture(file, start, size, units, range(32), _HEVC_RANDOM_ACCESS)


def _vp9(file: BinaryIO, start: int, size: int, units: Units) -> bytes | None:
    first = _read(file, start, 1)[0]
    in_fourth_profile = first >> 4 & 3 == 3
    shown_before, kind = (first >> 2 & 1, first >> 1 & 1) if in_fourth_profile else (first >> 3 & 1, first >> 2 & 1)
    return b"" if first >> 6 == 2 and not shown_before and kind == 0 else None


def _av1(file: BinaryIO, start: int, size: int, units: Units) -> bytes | None:
    return b"" if _read(file, start, 1)[0] >> 3 & 15 in (_AV1_SEQUENCE_HEADER, _AV1_DELIMITER) else None


def _mpeg4(file: BinaryIO, start: int, size: int, units: Units) -> bytes | None:
    head = _read(file, start, min(size, _HEAD_BYTES))
    picture = re.search(rb"\x00\x00\x01\xb6(.)", head, re.DOTALL)
    return head[: picture.start()] if picture is not None and picture[1][0] >> 6 == 0 else None


def _prores(file: BinaryIO, start: int, size: int, units: Units) -> bytes | None:
    return b""


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
