"""The samples of a plain MP4 or QuickTime track, from its tables, without reading the samples themselves."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np

from liteframe.data.decoding.containers.mp4_boxes import (
    Box,
    Odd,
    boxes_in,
    edit_list,
    inside,
    number_at,
    plain_track,
    read_at,
)

_STBL = (b"mdia", b"minf", b"stbl")
_FLAGGING = {b"stps", b"senc", b"saiz", b"saio", b"stz2"}
_GROUPS_OF_KEYS = (b"rap ", b"sync")
_MOST_DELTA = 1 << 31
_NO_PICTURE = -1


@dataclass(frozen=True)
class Samples:
    """What the tables say, in order of decoding; times in units of the track.

    Attributes:
        offsets_S: where samples begin in the file.
        sizes_S: their bytes.
        dts_S: when they are decoded, from 0 on.
        cts_S: when they are shown, on the same clock.
        key_S: key frames.
        shown_S: not left out by the edit list. Before the first of these, FFmpeg decodes from a key frame on.
    """

    offsets_S: np.ndarray
    sizes_S: np.ndarray
    dts_S: np.ndarray
    cts_S: np.ndarray
    key_S: np.ndarray
    shown_S: np.ndarray


def read_samples(file: BinaryIO, track_id: int, most: int) -> Samples | None:
    """The samples of a track, None where anything about its tables is odd.

    Odd is, too, whatever FFmpeg reads more from than from these tables: samples of no size, other tables of key frames,
    encryption.

    Args:
        file: the whole file.
        track_id: of the track.
        most: samples that it may have.
    """
    try:
        movie, track = plain_track(file, track_id)
        samples = _from_tables(file, track, most)
        samples = replace(samples, shown_S=_shown(file, movie, track, samples))
    except (Odd, struct.error, LookupError, ValueError, OverflowError):
        return None
    return samples


def _from_tables(file: BinaryIO, track: list[Box], most: int) -> Samples:
    tables = [box for found in inside(file, track, *_STBL) for box in boxes_in(file, *found[1:])]
    kinds = [kind for kind, _, _ in tables]
    if _FLAGGING & set(kinds) or any(kinds.count(kind) > 1 for kind in (b"stsz", b"stts", b"stsc", b"stss", b"ctts")):
        raise Odd("it has tables of its own kind")
    for kind, start, end in tables:
        if kind in (b"sbgp", b"sgpd") and read_at(file, start + 4, 4, end) in _GROUPS_OF_KEYS:
            raise Odd("its key frames are told by groups")
    place = {kind: (start, end) for kind, start, end in tables}
    sizes_S = _sizes(file, *place[b"stsz"], most)
    count = len(sizes_S)
    dts_S = _times(file, *place[b"stts"], count)
    shifts_S = _shifts(file, *place[b"ctts"], count) if b"ctts" in place else np.zeros(1, np.int64)
    offsets_S, key_S = _offsets(file, place, sizes_S), _keys(file, place, count)
    return Samples(offsets_S, sizes_S, dts_S, dts_S + shifts_S, key_S, np.ones(count, bool))


def _array(file: BinaryIO, start: int, end: int, dtype: str, count: int) -> np.ndarray:
    bytes_wanted = np.dtype(dtype).itemsize * count
    return np.frombuffer(read_at(file, start, bytes_wanted, end), dtype)


def _sizes(file: BinaryIO, start: int, end: int, most: int) -> np.ndarray:
    each, count = struct.unpack(">II", read_at(file, start + 4, 8, end))
    if not 0 < count <= most or each:
        raise Odd("its samples are of one size, none or too many")
    sizes_S = _array(file, start + 12, end, ">u4", count).astype(np.int64)
    if sizes_S.min() == 0:
        raise Odd("it has empty samples")
    return sizes_S


def _runs(file: BinaryIO, start: int, end: int, dtype: str, count: int) -> np.ndarray:
    """A value for each sample, of a table of how many have which: (count,) int64."""
    entries = number_at(file, start + 4, end)
    runs = _array(file, start + 8, end, dtype, 2 * entries).reshape(entries, 2).astype(np.int64)
    lengths = runs[:, 0] if dtype == ">u4" else runs[:, 0] & 0xFFFFFFFF
    if lengths.sum() != count or lengths.min() < 1:
        raise Odd("its tables do not fit each other")
    return np.repeat(runs[:, 1], lengths)


def _times(file: BinaryIO, start: int, end: int, count: int) -> np.ndarray:
    steps_S = _runs(file, start, end, ">u4", count)
    if steps_S.max() >= _MOST_DELTA:
        raise Odd("its times go backwards")
    return np.concatenate([[0], np.cumsum(steps_S[:-1])])


def _shifts(file: BinaryIO, start: int, end: int, count: int) -> np.ndarray:
    """From decoding to showing; FFmpeg reads these as signed in every version of the table."""
    shifts_S = _runs(file, start, end, ">i4", count)
    if np.abs(shifts_S).max() > 1 << 28:
        raise Odd("its times are far from each other")
    return shifts_S


def _keys(file: BinaryIO, place: dict[bytes, tuple[int, int]], count: int) -> np.ndarray:
    if b"stss" not in place:
        return np.ones(count, bool)
    start, end = place[b"stss"]
    numbers_K = _array(file, start + 8, end, ">u4", number_at(file, start + 4, end)).astype(np.int64)
    if not len(numbers_K) or numbers_K[0] != 1 or numbers_K[-1] > count or (np.diff(numbers_K) < 1).any():
        raise Odd("its table of key frames is not the usual one")
    key_S = np.zeros(count, bool)
    key_S[numbers_K - 1] = True
    return key_S


def _offsets(file: BinaryIO, place: dict[bytes, tuple[int, int]], sizes_S: np.ndarray) -> np.ndarray:
    wide = b"co64" in place
    if wide and b"stco" in place:
        raise Odd("it has two tables of chunks")
    start, end = place[b"co64" if wide else b"stco"]
    chunks = number_at(file, start + 4, end)
    chunk_C = _array(file, start + 8, end, ">u8" if wide else ">u4", chunks).astype(np.int64)
    start, end = place[b"stsc"]
    entries = number_at(file, start + 4, end)
    first_E, each_E, kind_E = _array(file, start + 8, end, ">u4", 3 * entries).reshape(entries, 3).T.astype(np.int64)
    if first_E[0] != 1 or (np.diff(first_E) < 1).any() or first_E[-1] > chunks or (kind_E != 1).any():
        raise Odd("its table of chunks is not the usual one")
    spans_E = np.diff(np.append(first_E, chunks + 1))
    if int((spans_E * each_E).sum()) != len(sizes_S) or each_E.min() < 1 or chunk_C.min() < 0:
        raise Odd("its tables do not fit each other")
    samples_C = np.repeat(each_E, spans_E)
    before_S = np.cumsum(sizes_S) - sizes_S
    starts_C = before_S[np.cumsum(samples_C) - samples_C]
    return np.repeat(chunk_C - starts_C, samples_C) + before_S


def _shown(file: BinaryIO, movie: list[Box], track: list[Box], samples: Samples) -> np.ndarray:
    """Which samples the edit list shows."""
    edits = [edit for edit in edit_list(file, track) if edit[1] != _NO_PICTURE]
    if not edits:
        return samples.shown_S
    (duration, begin), *_ = edits
    own, whole = _time_scale(file, inside(file, track, b"mdia", b"mdhd")), _time_scale(file, movie)
    end = begin + duration * own // whole
    late_S, shown_S = samples.cts_S >= end, (samples.cts_S >= begin) & (samples.cts_S < end)
    # some FFmpegs first move times by the most that a sample is shown before it is decoded
    moved_S = samples.cts_S + max(0, -int((samples.cts_S - samples.dts_S).min()))
    if not np.array_equal(shown_S, (moved_S >= begin) & (moved_S < end)):
        raise Odd("its edit list leaves samples out by times that are not told in one way")
    if not shown_S.any():
        raise Odd("its edit list shows nothing")
    # where the rest holds a key frame, or is decoded among what is shown, FFmpeg goes by rules of its own
    rest = int(np.flatnonzero(shown_S)[-1]) + 1
    if late_S[:rest].any() or samples.key_S[rest:].any():
        raise Odd("its edit list ends among samples")
    return shown_S


def _time_scale(file: BinaryIO, boxes: list[Box]) -> int:
    (start, end), *_ = [(start, end) for kind, start, end in boxes if kind in (b"mvhd", b"mdhd")]
    scale = number_at(file, start + (20 if read_at(file, start, 1, end) == b"\1" else 12), end)
    if not 0 < scale < _MOST_DELTA:
        raise Odd("it has no unit of time")
    return scale
