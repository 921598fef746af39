"""The frames of one video in chunks, as a decode process sends them: they are used while it decodes on."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from liteframe.data.decoding.decode import VideoInfo
from liteframe.data.decoding.processes.child import Child
from liteframe.data.decoding.processes.frame_chunks import Begin
from liteframe.data.decoding.processes.job import DecodeJob
from liteframe.errors import DecodeError

ENDED = "the work was ended"
_JOIN_S = 10.0


class StartedOver(DecodeError):
    """The frames that have come count no more, as decoding showed others than the packets told.

    Who iterates over the stream anew gets all frames of its new `indices`.
    """


class FrameStream:
    """Chunks of consecutive chosen frames in order, uint8 (t, H, W, 3); a context that ends what is still decoded.

    `DecodePool.stream` makes one. The decode process waits where `ahead` chunks are here that nobody has taken.

    Args:
        job: what is decoded.
        ahead: chunks that are received before they are asked for.

    Attributes:
        decode_s: seconds that decoding took, of a stream that is at its end.
        transfer_s: seconds that frames were on their way from one process to the other.
        wait_s: seconds that `__iter__` and `__enter__` have waited.
    """

    def __init__(self, job: DecodeJob, ahead: int) -> None:
        self._job, self._ahead = job, ahead
        self._changed = threading.Condition()
        self._begin: Begin | None = None
        self._chunks = deque[np.ndarray[Any, Any]]()
        self._received = self._given = self._asked_from = 0
        self._again = self._closed = self._ended = self._is_told = False
        self._fault: DecodeError | None = None
        self._error: BaseException | None = None
        self._child: Child | None = None
        self._thread: threading.Thread | None = None
        self.decode_s = self.transfer_s = self.wait_s = 0.0

    def start(self, read: Callable[[FrameStream], Any]) -> FrameStream:
        """Has `read` fill it in a thread, by `take`; what it returns or raises is the end."""
        self._thread = threading.Thread(target=self._fill, args=(read,), name="liteframe-stream", daemon=True)
        self._thread.start()
        return self

    @property
    def info(self) -> VideoInfo:
        """What the file holds. Raises as `indices`."""
        return self._told().info

    @property
    def indices(self) -> np.ndarray:
        """Positions in the file of the frames that come, int64 (T,).

        Raises:
            DecodeError: the video cannot be read in time, or has no such frames.
            LiteFrameError: no fault of the video, see `DecodePool.run`.
        """
        return self._told().indices

    @property
    def times_s(self) -> np.ndarray | None:
        """Seconds from the first frame of the file to each, float64 (T,). Raises as `indices`."""
        return self._told().times_s

    @property
    def threads_at_work(self) -> int:
        """Threads that decode just now: none once all frames are here, nor while it waits for chunks to be taken."""
        with self._changed:
            if self._begin is None or self._ended or len(self._chunks) >= self._ahead:
                return 0
            return 0 if self._received == len(self._begin.indices) else self._begin.threads

    def __iter__(self) -> Iterator[np.ndarray]:
        """The chunks that have not been taken yet.

        Raises:
            StartedOver: forget those that have been, and iterate anew.
            DecodeError, LiteFrameError: as `indices`.
        """
        while True:
            with self._changed:
                self._wait(lambda: bool(self._chunks) or self._again or self._ended)
                if self._again:
                    self._again, self._given = False, 0
                    raise StartedOver(self._job.path, "shows other frames than its packets told")
                if not self._chunks:
                    return
                chunk_THWC = self._chunks.popleft()
                self._given += len(chunk_THWC)
                self._changed.notify_all()
            yield chunk_THWC

    def __enter__(self) -> FrameStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def cancel(self) -> None:
        """Ends what is still decoded without waiting for its end; who waits for frames gets a DecodeError."""
        with self._changed:
            self._closed = True
            self._chunks.clear()
            self._changed.notify_all()
            if not self._ended and self._child is not None:
                self._child.process.kill()

    def close(self) -> None:
        """Ends what is still decoded."""
        self.cancel()
        if self._thread is not None:
            self._thread.join(_JOIN_S)

    def _told(self) -> Begin:
        with self._changed:
            self._wait(lambda: self._begin is not None or self._ended)
            assert self._begin is not None, "otherwise there is an error"
            self._is_told = True
            return self._begin

    def _wait(self, until: Callable[[], bool]) -> None:
        began = time.perf_counter()
        self._changed.wait_for(lambda: until() or self._error is not None or self._closed)
        self.wait_s += time.perf_counter() - began
        if self._error is not None:
            raise self._error
        if not until():
            raise DecodeError(self._job.path, ENDED)

    # What follows is for the thread that fills it.

    @property
    def is_wanted(self) -> bool:
        """Whether the frames are of use."""
        with self._changed:
            return not self._closed

    def attend_to(self, child: Child | None) -> bool:
        """Says which process is asked next, or that none is; false where the frames are no longer of use."""
        with self._changed:
            self._child = child
            return not self._closed

    def job_left(self) -> DecodeJob:
        """What is to be asked for: the job, or the frames that have not come from a process that was lost."""
        with self._changed:
            self._asked_from = self._received
            if not self._received or self._begin is None:
                return self._job
            rest = self._begin.indices[self._received :].tolist()
            return replace(self._job, sampler=None, num_frames=None, indices=tuple(rest))

    def take(self, part: Any, on_its_way_s: float) -> bool:
        """Takes what a process sends, once there is room; false where it is no longer of use."""
        with self._changed:
            self.transfer_s += on_its_way_s
            if isinstance(part, Begin):
                return self._start_at(part)
            self._changed.wait_for(lambda: len(self._chunks) < self._ahead or self._closed)
            self._chunks.append(part)
            self._received += len(part)
            self._changed.notify_all()
            return not self._closed

    def _start_at(self, begin: Begin) -> bool:
        """Takes note of what comes, from the first frame on, or from where a lost process has ended."""
        if self._asked_from:
            assert self._begin is not None
            rest = self._begin.indices[self._asked_from :]
            same = begin.info.frames == self._begin.info.frames and np.array_equal(begin.indices, rest)
            if not same or self._received > self._asked_from:
                self._fault = DecodeError(self._job.path, "shows other frames each time it is read")
            return self._fault is None and not self._closed
        known, self._begin = self._begin, begin
        others = self._is_told and known is not None and not np.array_equal(known.indices, begin.indices)
        self._again = self._again or self._given > 0 or others
        self._chunks.clear()
        self._received = 0
        self._changed.notify_all()
        return not self._closed

    def _fill(self, read: Callable[[FrameStream], Any]) -> None:
        error: BaseException | None = None
        try:
            result = read(self)
            if isinstance(result, BaseException):
                error = result
            else:
                _, self.decode_s = result
        except BaseException as raised:
            error = raised
        with self._changed:
            if error is None and (self._begin is None or self._received != len(self._begin.indices)):
                error = DecodeError(self._job.path, f"{self._received} frames came, which are not all")
            self._error, self._ended = self._fault or error, True
            self._changed.notify_all()
