"""Reads frames with decord 0.6.0 or its fork decord2, which both import as `decord`; their habits need watching.

It repeats the last good frame where a frame is bad, conceals damage without an error, and spins at the end of truncated
files; so its log is read after each call, and anything in it is an error here.
"""

from __future__ import annotations

import importlib.util
import math
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from liteframe.data.decoding import heartbeat
from liteframe.data.decoding.frame_resize import FrameResize
from liteframe.data.decoding.frame_sink import FrameArray, FrameSink
from liteframe.errors import DecodeError

# so often decord polls for its last frames: below 1,000 good files fail, its own default of 10,240 stalls on bad ones
_EOF_RETRIES = "2048"
_CHUNK_BYTES = 16 << 20
_LOG_LINE = re.compile(
    r"^\[[\w,. -]+ @ 0x[0-9a-f]+\].*$|^\s*Last message repeated.*$|^Truncating packet of size.*$", re.MULTILINE
)
_COLOURS_TOLD_LATE = re.compile(
    r"^.* Changing video frame properties on the fly is not supported by all filters\.\n"
    r".* filter context - (w: \d+ h: \d+ fmt: \d+) csp: unknown range: unknown .* incoming frame - \1 csp: \S+"
    r" range: (?:tv|unknown) .*$\n?",
    re.MULTILINE,
)
"""What decord2 logs of good files: its filters learn from the first frame alone which colours it has."""
_stderr_lock = threading.Lock()


@cache
def available() -> bool:
    """Whether decord or decord2 is installed."""
    return importlib.util.find_spec("decord") is not None


def _decord() -> Any:
    os.environ.setdefault("DECORD_EOF_RETRY_MAX", _EOF_RETRIES)  # read once, when decord is loaded
    import decord

    decord.logging.set_level(decord.logging.INFO)  # concealed errors are logged at this level only
    return decord


class _Log:
    text = ""


@contextmanager
def watched_log() -> Iterator[_Log]:
    """Catches what FFmpeg inside decord writes to file descriptor 2; all other text goes on to stderr."""
    log = _Log()
    with _stderr_lock, tempfile.TemporaryFile() as sink:
        sys.stderr.flush()
        try:
            kept = os.dup(2)
        except OSError:  # no stderr at all
            yield log
            return
        os.dup2(sink.fileno(), 2)
        try:
            yield log
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            sink.seek(0)
            written = sink.read().decode("utf-8", "replace")
            log.text = "\n".join(line.strip() for line in _LOG_LINE.findall(written))
            other = _LOG_LINE.sub("", written).strip()
            if other:
                os.write(2, (other + "\n").encode())


def read(path: str, indices: Sequence[int], frames: int, resize: FrameResize, in_order: bool) -> np.ndarray:
    """Frames at strictly increasing `indices`, (T, height, width, 3) uint8; see `read_into`."""
    sink = FrameArray()
    read_into(sink, path, indices, frames, resize, in_order)
    return sink.frames_THWC


def read_into(
    sink: FrameSink, path: str, indices: Sequence[int], frames: int, resize: FrameResize, in_order: bool
) -> None:
    """Reads frames at strictly increasing `indices`.

    Args:
        sink: takes the frames; it is begun anew for a second attempt.
        path: the video.
        indices: positions by presentation time.
        frames: how many distinct frames the file has.
        resize: from the size that frames must have to the one that they are scaled to, one at a time.
        in_order: decode from the first frame on without seeking, for files whose frames decord miscounts after a seek.

    Raises:
        DecodeError: decord fails, logs damage, or sees another number or size of frames.
    """
    decord = _decord()
    with watched_log() as log:
        failure = _failure(decord, sink, path, indices, frames, resize, in_order)
        if failure and "Unable to handle EOF" in failure:  # also what a busy machine looks like
            failure = _failure(decord, sink, path, indices, frames, resize, in_order)
    if damage := damage_in(log.text):
        raise DecodeError(path, f"decord reports damage: {damage.splitlines()[0]}")
    if failure:
        raise DecodeError(path, f"decord cannot read it: {failure}")


def damage_in(log: str) -> str:
    """The lines of a log that tell of damage; empty where none does."""
    return _COLOURS_TOLD_LATE.sub("", log)


def _failure(
    decord: Any,
    sink: FrameSink,
    path: str,
    indices: Sequence[int],
    frames: int,
    resize: FrameResize,
    in_order: bool,
) -> str:
    """Why decord failed to read; empty where it did not."""
    try:
        _read(decord, sink, path, indices, frames, resize, in_order)
    except DecodeError:
        raise
    except Exception as error:  # decord raises bare DECORDError, RuntimeError and AssertionError alike
        return _reason(error)
    return ""


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if not line.lstrip().startswith("[bt]")]
    told = [line.rsplit("] ", 1)[-1] for line in lines if "failed" in line or "Unable" in line or "Error" in line]
    return (told[0] if told else type(error).__name__)[:200]


def _read(
    decord: Any,
    sink: FrameSink,
    path: str,
    indices: Sequence[int],
    frames: int,
    resize: FrameResize,
    in_order: bool,
) -> None:
    # An absolute path is no protocol, whatever colons the file's name has.
    reader = decord.VideoReader(os.path.abspath(path), ctx=decord.cpu(0), num_threads=1)
    if not in_order and len(reader) != frames:
        raise DecodeError(path, f"decord counts {len(reader)} frames, the file shows {frames}")
    sink.begin(len(indices), *resize.size, threads=1)
    if in_order:
        _read_in_order(reader.next, sink, path, indices, resize)
    else:
        step = max(1, _CHUNK_BYTES // math.prod((*resize.source, 3)))
        for start in range(0, len(indices), step):
            chunk = [int(index) for index in indices[start : start + step]]
            frames_THWC = reader.get_batch(chunk).asnumpy()
            _check(path, frames_THWC.shape, (len(chunk), *resize.source, 3))
            heartbeat.step()
            for slot, frame_HWC in enumerate(frames_THWC, start):
                sink.put(slot, resize(frame_HWC))
    reader.seek(0)  # otherwise decoded frames that were not asked for are never given back


def _read_in_order(
    next_frame: Callable[[], Any], sink: FrameSink, path: str, indices: Sequence[int], resize: FrameResize
) -> None:
    slot = 0
    for index in range(int(indices[-1]) + 1):
        frame = next_frame()
        heartbeat.step()
        if index == indices[slot]:
            frame_HWC = frame.asnumpy()
            _check(path, frame_HWC.shape, (*resize.source, 3))
            sink.put(slot, resize(frame_HWC))
            slot += 1


def _check(path: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if shape != wanted:
        raise DecodeError(path, f"decord gives frames of shape {shape} where {wanted} was expected")
