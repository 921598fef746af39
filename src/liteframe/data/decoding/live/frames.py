"""Frames of a stream in clips, as they come, out of a process that can be killed."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from liteframe.data.decoding.live.reading import LiveEnd, LiveFrame, LiveSettings
from liteframe.data.decoding.live.source import STDIN, LiveSource
from liteframe.data.decoding.processes.child import Child, Lost, death_of
from liteframe.data.decoding.processes.messages import receive, send
from liteframe.errors import DecodeError, LiteFrameError


@dataclass(frozen=True)
class LiveClip:
    """Frames one after the other.

    Attributes:
        frames_THWC: uint8, RGB, upright.
        times_s: float64 (T,), when each comes on screen, in seconds from the stream's first frame.
    """

    frames_THWC: np.ndarray
    times_s: np.ndarray


class LiveFrames:
    """Reads a stream in another process and holds a few clips of it until they are asked for.

    Where clips come faster than they are taken, either the source waits, or the oldest that is held is dropped and
    counted: the newest is kept. A context manager.

    Args:
        source: what is read.
        fps: frames a second to take, by the rule of `FpsCapped`; None takes all.
        size: (height, width) that frames are scaled to.
        clip_frames: frames of a clip.
        most_clips: that are held at a time.
        drop: whether clips are dropped; None is only where the source does not wait for its reader.
        idle_s: seconds without anything new after which the stream is at its end.

    Attributes:
        dropped, damaged: frames that were dropped, and left out because they were damaged.
    """

    def __init__(
        self,
        source: LiveSource,
        fps: float | None,
        size: tuple[int, int],
        clip_frames: int,
        most_clips: int = 8,
        drop: bool | None = None,
        idle_s: float = 10.0,
    ) -> None:
        self.source, self.dropped, self.damaged = source, 0, 0
        self._clip_frames, self._most = clip_frames, most_clips
        self._drop = not source.waits if drop is None else drop
        self._changed = threading.Condition()
        self._clips: deque[LiveClip] = deque()
        self._tail: list[LiveFrame] = []
        self._taken = 0
        self._end: LiveEnd | LiteFrameError | None = None
        self._closed = False
        # Under another number than its own, at which the child has the pipe of its requests.
        stdin = os.dup(sys.__stdin__.fileno()) if source.name == STDIN and sys.__stdin__ is not None else None
        try:
            self._child = Child("liteframe.data.decoding.live.worker", () if stdin is None else (stdin,))
            self._child.await_start()
        except Lost as lost:
            raise LiteFrameError(f"the process that reads {source.told} could not be started: {lost.reason}") from lost
        finally:
            if stdin is not None:
                os.close(stdin)
        self._thread = threading.Thread(target=self._receive, name="liteframe-live", daemon=True)
        settings = LiveSettings(source, fps, size, idle_s, stdin)
        try:
            assert self._child.process.stdin is not None
            send(self._child.process.stdin, settings)
            self._thread.start()
        except BaseException:
            self._child.close()
            raise

    def take(self, most: int) -> list[LiveClip]:
        """Whole clips that are held, `most` or fewer; waits for one. None where the stream has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._clips or self._end or self._closed)
            clips = [self._clips.popleft() for _ in range(min(most, len(self._clips)))]
            self._taken += sum(len(clip.frames_THWC) for clip in clips)
            self._changed.notify_all()
            return clips

    def tail_after(self, taken: int) -> LiveClip | None:
        """The newest frames, which no whole clip has come of yet, where `taken` frames are all that came before."""
        with self._changed:
            return _clip(self._tail) if self._tail and not self._clips and self._taken == taken else None

    @property
    def end(self) -> LiveEnd | None:
        """Why no more comes; None as long as more may. Raises the error for which nothing could be read."""
        with self._changed:
            if isinstance(self._end, LiteFrameError):
                raise self._end
            return self._end

    def close(self) -> None:
        """Ends the reading process."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._child.process.kill()
        self._thread.join()
        self._child.close()

    def __enter__(self) -> LiveFrames:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive(self) -> None:
        pipe: Any = self._child.process.stdout
        end: Any = None
        while end is None:
            try:
                message = receive(pipe)
            except (EOFError, OSError):
                end = LiveEnd(death_of(self._child.process.wait()), self.damaged, broken=True)
            except Exception as error:
                end = LiveEnd(f"what came of it cannot be read: {error}", self.damaged, broken=True)
            else:
                end = None if isinstance(message, LiveFrame) else message
                if isinstance(message, LiveFrame):
                    self._put(message)
        with self._changed:
            self.damaged = end.damaged if isinstance(end, LiveEnd) else self.damaged
            self._end = (
                DecodeError(self.source.told, str(end)) if not isinstance(end, LiveEnd | LiteFrameError) else end
            )
            self._changed.notify_all()

    def _put(self, frame: LiveFrame) -> None:
        with self._changed:
            self.damaged = frame.damaged
            self._tail.append(frame)
            if len(self._tail) < self._clip_frames:
                return
            if self._drop and len(self._clips) == self._most:
                self.dropped += len(self._clips.popleft().frames_THWC)
            self._changed.wait_for(lambda: len(self._clips) < self._most or self._closed)
            self._clips.append(_clip(self._tail))
            self._tail = []
            self._changed.notify_all()


def _clip(frames: list[LiveFrame]) -> LiveClip:
    return LiveClip(np.stack([frame.frame_HWC for frame in frames]), np.array([frame.time_s for frame in frames]))
