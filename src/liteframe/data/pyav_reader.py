"""Reads frames with PyAV, in order or by seeking.

A frame's index is its rank by presentation time among the frames that a player shows. Sparse reads seek to the key
frame before and identify every frame by its presentation time; where anything looks odd, the file is read in order from
its start instead, which decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, dropwhile
from typing import Any

import numpy as np

from liteframe.data.ffmpeg_log import FFmpegLog
from liteframe.data.frame_resize import FrameResize
from liteframe.data.orientation import upright
from liteframe.data.pyav_in_order import frames_held_back, frames_in_order
from liteframe.data.pyav_open import open_video
from liteframe.data.pyav_scan import Scan
from liteframe.data.pyav_versions import rgb_converter

_JPEG_TABLES = b"\xff\xdb", b"\xff\xc4"
"""Markers of the tables of quantisation and of Huffman codes; the codes themselves never look like them."""


class TableMismatch(Exception):
    """The frames that a decoder gives are not those the container announces: count them by decoding."""


class _SeekMiss(Exception):
    """A seek did not lead to the wanted frame."""


class Converter:
    """PyAV frames to upright RGB arrays (height, width, 3) uint8; those of another size than the first are scaled.

    Args:
        scan: of the file.
        size: (height, width) that frames are scaled to; None for that of the file.
    """

    def __init__(self, scan: Scan, size: tuple[int, int] | None = None) -> None:
        self._scan, self._rgb = scan, rgb_converter()
        self.size = (scan.height, scan.width) if size is None else size
        self._resize = FrameResize((scan.height, scan.width), self.size)

    def __call__(self, frame: Any) -> np.ndarray:
        picture_HWC = upright(self._rgb(frame), self._scan.orientation)
        if picture_HWC.shape[:2] != self._resize.source:  # streams may change their size on the way
            self._resize = FrameResize(picture_HWC.shape[:2], self.size)
        return self._resize(picture_HWC)


def read_sparse(scan: Scan, indices: Sequence[int], size: tuple[int, int] | None = None) -> np.ndarray:
    """Frames at strictly increasing `indices`, (T, height, width, 3) uint8, by seeking where that is safe.

    Args:
        scan: of the file.
        indices: positions by presentation time.
        size: (height, width) that frames are scaled to, one at a time; None for that of the file.

    Raises:
        DecodeError: a frame on the way is damaged.
        TableMismatch: the file shows other frames than its packets say.
    """
    if scan.pts_T is not None and not scan.by_decoding:
        for run_up in (0, 1):
            try:
                return _seek_and_read(scan, indices, size, run_up)
            except _SeekMiss:
                continue
    return read_in_order(scan, indices, size)  # the authority on files that cannot be sought


def read_in_order(scan: Scan, indices: Sequence[int], size: tuple[int, int] | None = None) -> np.ndarray:
    """As `read_sparse`, decoding every frame from the start up to the last one asked for."""
    convert, slot = Converter(scan, size), 0
    out_THWC = np.empty((len(indices), *convert.size, 3), np.uint8)
    for index, frame in enumerate(frames_in_order(scan.path, indices[-1] + 1)):
        if scan.pts_T is not None and (index >= scan.frames or frame.pts != scan.pts_T[index]):
            raise TableMismatch
        if index == indices[slot]:
            out_THWC[slot] = convert(frame)
            slot += 1
    if slot < len(indices):
        raise TableMismatch
    return out_THWC


def _seek_and_read(scan: Scan, indices: Sequence[int], size: tuple[int, int] | None, run_up: int) -> np.ndarray:
    """Frames by seeking to the key frame before each, or to the one `run_up` groups of pictures earlier.

    Decoders complain of groups that begin with what refers to the group before, unless they have seen that one.
    """
    import av

    assert scan.pts_T is not None
    convert, keys_K = Converter(scan, size), scan.key_pts_K
    out_THWC = np.empty((len(indices), *convert.size, 3), np.uint8)
    segment_T = np.searchsorted(keys_K, scan.pts_T[np.asarray(indices, np.int64)], side="right") - 1
    with open_video(scan.path) as (container, stream, log):
        frames, here, position = _sound(container, stream, log, None), 0, 0
        try:
            for slot, (index, segment) in enumerate(zip(indices, segment_T.clip(0).tolist(), strict=True)):
                if segment > here + run_up:
                    _require_sound_rest(stream, log)
                    frames = _land(container, stream, log, keys_K, segment, run_up)
                    position = int(np.searchsorted(scan.pts_T, keys_K[segment]))
                    frames = chain([_key_frame(frames)], frames)
                while position <= index:
                    frame = next(frames, None)
                    if frame is None or frame.pts != scan.pts_T[position]:
                        raise _SeekMiss
                    position += 1
                here, out_THWC[slot] = segment, convert(frame)
            _require_sound_rest(stream, log)
        except av.error.FFmpegError as error:
            raise _SeekMiss from error
    return out_THWC


def _key_frame(frames: Iterator[Any]) -> Any:
    """The next frame, which the decoder too must take for one that needs no others."""
    frame = next(frames, None)
    if frame is None or not frame.key_frame:
        raise _SeekMiss
    return frame


def _sound(container: Any, stream: Any, log: FFmpegLog, from_pts: int | None) -> Iterator[Any]:
    """What the decoder gives, as long as it has no complaints of packets and frames from the one of that time on."""
    heeded = from_pts is None
    # the scan has heard the demuxer on the whole file; seeking adds remarks
    for packet in log.each(container.demux(stream), demuxer=False):
        if not heeded and packet.pts == from_pts:
            heeded = True
            _require_own_tables(stream, packet)
        with log.listening():
            frames = packet.decode()
        if not heeded:
            log.forget()
        elif log.damage or any(frame.is_corrupt and _is_from(frame, from_pts) for frame in frames):
            raise _SeekMiss
        yield from frames


def _require_own_tables(stream: Any, packet: Any) -> None:
    """Refuses to land on a JPEG that lacks tables: it is decoded by those of the pictures before, without a word."""
    if stream.codec_context.codec.name == "mjpeg":
        data = bytes(packet)
        if any(marker not in data for marker in _JPEG_TABLES):
            raise _SeekMiss


def _is_from(frame: Any, from_pts: int | None) -> bool:
    return from_pts is None or frame.pts is None or frame.pts >= from_pts


def _require_sound_rest(stream: Any, log: FFmpegLog) -> None:
    """Refuses frames that were read where one that the decoder holds back is patched up: they may refer to it."""
    with log.listening():
        rest = frames_held_back(stream)
    if log.damage or any(frame.is_corrupt for frame in rest):
        raise _SeekMiss


def _land(container: Any, stream: Any, log: FFmpegLog, keys_K: np.ndarray, segment: int, run_up: int) -> Iterator[Any]:
    """Frames from the key frame of `segment` on."""
    wanted = int(keys_K[segment])
    for back in (0, 1, 2, 4):  # demuxers that seek by time of decoding land late
        key = int(keys_K[max(segment - run_up - back, 0)])
        container.seek(key, stream=stream, backward=True, any_frame=False)
        frames = _sound(container, stream, log, wanted)
        try:
            first = next(frames, None)
        except _SeekMiss:
            continue
        if first is not None and first.pts is not None and first.pts <= keys_K[max(segment - run_up, 0)]:
            return dropwhile(lambda frame: frame.pts is not None and frame.pts < wanted, chain([first], frames))
    raise _SeekMiss
