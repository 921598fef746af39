"""Reads frames with PyAV, in order or by seeking.

A frame's index is its rank by presentation time among the frames that a player shows. Sparse reads seek to the key
frame before and identify every frame by its presentation time; where anything looks odd, the file is read in order from
its start instead, which decides.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from liteframe.data.decoding.bitstream.unreferenced import PROVEN
from liteframe.data.decoding.frame_resize import FrameResize
from liteframe.data.decoding.frame_sink import FrameArray, FrameSink
from liteframe.data.decoding.orientation import Orientation, upright
from liteframe.data.decoding.pyav.in_order import frames_in_order
from liteframe.data.decoding.pyav.opening import reopen_video
from liteframe.data.decoding.pyav.scan import Scan
from liteframe.data.decoding.pyav.seek import Run, Seeker, SeekMiss, plan
from liteframe.data.decoding.pyav_versions import rgb_converter

_WORTH_A_THREAD = 20_000_000
"""Pixels that take longer to decode than another thread takes to open the file."""

_RUNS_A_THREAD = 2
"""Into which frames that lie close together are parted: with fewer, some threads are done long before others."""

_RUN_BYTES = 4 << 20
"""Of the frames of a run, where not all frames are held at once: they wait for those of the run before."""


class TableMismatch(Exception):
    """The frames that a decoder gives are not those the container announces: count them by decoding."""


class Shown(Protocol):
    """What the conversion of frames to RGB depends on: their source, and their size and orientation when shown."""

    @property
    def codec(self) -> str: ...

    @property
    def container(self) -> str: ...

    @property
    def height(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def orientation(self) -> Orientation: ...


class Converter:
    """PyAV frames to upright RGB arrays (height, width, 3) uint8; those of another size than the first are scaled.

    Args:
        scan: of the file, or how a stream is shown.
        size: (height, width) that frames are scaled to; None for that of the file.
    """

    def __init__(self, scan: Shown, size: tuple[int, int] | None = None) -> None:
        self._scan, self._rgb = scan, rgb_converter(scan.codec, scan.container)
        self.size = (scan.height, scan.width) if size is None else size
        self._resize = FrameResize((scan.height, scan.width), self.size)

    def __call__(self, frame: Any) -> np.ndarray:
        picture_HWC = upright(self._rgb(frame), self._scan.orientation)
        if picture_HWC.shape[:2] != self._resize.source:  # streams may change their size on the way
            self._resize = FrameResize(picture_HWC.shape[:2], self.size)
        return self._resize(picture_HWC)


def read_sparse(
    scan: Scan, indices: Sequence[int], size: tuple[int, int] | None = None, threads: int = 1
) -> np.ndarray:
    """Frames at strictly increasing `indices`, (T, height, width, 3) uint8; see `read_sparse_into`."""
    sink = FrameArray()
    read_sparse_into(sink, scan, indices, size, threads)
    return sink.frames_THWC


def read_sparse_into(
    sink: FrameSink, scan: Scan, indices: Sequence[int], size: tuple[int, int] | None = None, threads: int = 1
) -> None:
    """Reads frames at strictly increasing `indices`, by seeking where that is safe.

    Args:
        sink: takes the frames; it is begun anew where another way of reading is taken.
        scan: of the file.
        indices: positions by presentation time.
        size: (height, width) that frames are scaled to, one at a time in each thread; None for that of the file.
        threads: that may read different parts of the file at the same time.

    Raises:
        DecodeError: a frame on the way is damaged.
        TableMismatch: the file shows other frames than its packets say.
    """
    if scan.pts_T is not None and not scan.by_decoding:
        attempts = [(0, True), (1, True), (1, False)] if scan.codec in PROVEN else [(0, False), (1, False)]
        for run_up, sparing in attempts:
            try:
                return _seek_and_read(sink, scan, indices, size, threads, run_up, sparing)
            except SeekMiss:
                continue
    return _read_in_order(sink, scan, indices, size)  # the authority on files that cannot be sought


def read_in_order(scan: Scan, indices: Sequence[int], size: tuple[int, int] | None = None) -> np.ndarray:
    """As `read_sparse`, decoding every frame from the start up to the last one asked for."""
    sink = FrameArray()
    _read_in_order(sink, scan, indices, size)
    return sink.frames_THWC


def _read_in_order(sink: FrameSink, scan: Scan, indices: Sequence[int], size: tuple[int, int] | None) -> None:
    convert, slot = Converter(scan, size), 0
    sink.begin(len(indices), *convert.size, threads=1)
    for index, frame in enumerate(frames_in_order(scan.path, indices[-1] + 1)):
        if scan.pts_T is not None and (index >= scan.frames or frame.pts != scan.pts_T[index]):
            raise TableMismatch
        if index == indices[slot]:
            sink.put(slot, convert(frame))
            slot += 1
    if slot < len(indices):
        raise TableMismatch


def _seek_and_read(
    sink: FrameSink,
    scan: Scan,
    indices: Sequence[int],
    size: tuple[int, int] | None,
    threads: int,
    run_up: int,
    sparing: bool,
) -> None:
    """Reads by seeking; see `Seeker` for the last two arguments."""
    planned = plan(scan, list(indices), run_up)
    cost = sum(run.cost for run in planned)
    threads = min(threads, 1 + cost * scan.width * scan.height // _WORTH_A_THREAD)
    height, width = size or (scan.height, scan.width)
    if threads > 1:
        parts = float(threads * _RUNS_A_THREAD)
        if sink.held(len(indices), height, width) < len(indices):
            parts = max(parts, len(indices) * height * width * 3 / _RUN_BYTES)
        planned = plan(scan, list(indices), run_up, enough=cost / parts)
    runs, threads = deque(planned), min(threads, len(planned))
    sink.begin(len(indices), height, width, threads=threads)

    def read() -> None:
        convert = Converter(scan, size)

        def use(slot: int, frame: Any) -> None:
            sink.put(slot, convert(frame))

        with reopen_video(scan.path) as (opened, fresh):
            seeker = Seeker(opened, fresh, scan, run_up, sparing)
            while (run := _taken(runs)) is not None:
                try:
                    seeker.read(run, use)
                except BaseException:
                    runs.clear()  # for the other threads to end
                    sink.give_up()
                    raise

    if threads <= 1:
        return read()
    # each in a file of its own: what FFmpeg says is heard by thread, so its own threads could not be heard
    with ThreadPoolExecutor(threads, "liteframe-read") as pool:
        for done in [pool.submit(read) for _ in range(threads)]:
            done.result()


def _taken(runs: deque[Run]) -> Run | None:
    try:
        return runs.popleft()
    except IndexError:
        return None
