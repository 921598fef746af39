"""In a decode process: frames that are sent in chunks, in order, while later ones are decoded."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from liteframe.data.decoding.decode import VideoInfo, frame_times, read_into
from liteframe.data.decoding.processes.answers import checked
from liteframe.data.decoding.processes.job import DecodeJob, VideoFrames, decode, is_own, read_chosen
from liteframe.data.decoding.processes.remote_decode import with_copy
from liteframe.data.remote.cache import RemoteCache
from liteframe.data.remote.file import is_url
from liteframe.errors import ConfigError, DecodeError

_HELD_BYTES = 64 << 20
"""Of frames that wait for those before them, which another thread decodes."""
_LEAST_CHUNKS = 2


@dataclass(frozen=True)
class Begin:
    """Says what comes: frames of a video from the first chosen one on, whatever came before.

    Attributes:
        info: what the file holds.
        indices: int64 (T,), of the frames that come.
        times_s: float64 (T,), seconds from the first frame of the file to each; None where the decoder does not tell.
        threads: that decode at once.
    """

    info: VideoInfo
    indices: np.ndarray
    times_s: np.ndarray | None
    threads: int


class ChunkSender:
    """A `FrameSink` that sends chunks of consecutive frames as soon as they and all before them are there.

    A thread that is far ahead of the frames that are due waits for them.

    Args:
        chunk: frames of a chunk; the last may be smaller.
        send: sends a `Begin`, or a chunk (t, H, W, 3), and comes back once it is on its way.

    Attributes:
        sending_s: seconds that went into sending, most of it waiting for who takes the chunks.
    """

    def __init__(self, chunk: int, send: Callable[[Any], None]) -> None:
        self._chunk, self._send = chunk, send
        self._changed, self._sending = threading.Condition(), threading.Lock()
        self._next: Begin | None = None
        self._frames = self._sent = 0
        self._given_up = False
        self.sending_s = 0.0

    def announce(self, info: VideoInfo, indices: np.ndarray, times_s: np.ndarray | None) -> None:
        """What `begin` is going to be about."""
        self._next = Begin(info, indices, times_s, threads=1)

    def held(self, frames: int, height: int, width: int) -> int:
        chunks = max(_LEAST_CHUNKS, _HELD_BYTES // (self._chunk * height * width * 3))
        return min(frames, chunks * self._chunk)

    def begin(self, frames: int, height: int, width: int, threads: int) -> None:
        assert self._next is not None, "announced before"
        self._frames, self._sent, self._size, self._given_up = frames, 0, (height, width), False
        self._held = self.held(frames, height, width)
        self._chunks: dict[int, np.ndarray] = {}
        self._missing: dict[int, int] = {}
        self._send(replace(self._next, threads=threads))

    def put(self, slot: int, frame_HWC: np.ndarray) -> None:
        start = slot - slot % self._chunk
        with self._changed:
            self._changed.wait_for(lambda: slot < self._sent + self._held or self._given_up)
            if start not in self._chunks:
                self._missing[start] = min(self._chunk, self._frames - start)
                self._chunks[start] = np.empty((self._missing[start], *self._size, 3), np.uint8)
            chunk_THWC = self._chunks[start]
        chunk_THWC[slot - start] = frame_HWC
        with self._changed:
            self._missing[start] -= 1
        self._send_what_is_due()

    def give_up(self) -> None:
        with self._changed:
            self._given_up = True
            self._changed.notify_all()

    def _send_what_is_due(self) -> None:
        with self._sending:
            while self._missing.get(self._sent) == 0 and not self._given_up:
                began = time.perf_counter()
                self._send(self._chunks[self._sent])
                self.sending_s += time.perf_counter() - began
                with self._changed:
                    del self._missing[self._sent]
                    self._sent += len(self._chunks.pop(self._sent))
                    self._changed.notify_all()


_send_part: Callable[[Any], None] | None = None


def send_parts_by(send: Callable[[Any], None] | None) -> None:
    """Has parts of an answer sent by `send` in this process."""
    global _send_part
    _send_part = send


def send_chunks(
    job: DecodeJob, decoder: str, cache: RemoteCache | None, threads: int, chunk_frames: int, nice: int
) -> tuple[VideoInfo, float]:
    """Decodes a job as `decode` does, and sends its frames as parts; gives info, and the seconds that decoding took.

    From the first call on, this process gives way to others by `nice`.

    Raises:
        DecodeError, ConfigError: as `decode`; the chosen frames are not in order.
    """
    assert _send_part is not None, "in a decode process"
    began = time.perf_counter()
    if nice and hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    if job.indices is not None and (np.diff(job.indices) <= 0).any():
        raise ConfigError(f"{job.path}: the frames of a stream must be in order, each once")
    sender = ChunkSender(chunk_frames, _send_part)
    if is_own(decoder):
        info = _send_all(sender, checked(job, decode(job, decoder, cache)))
    elif is_url(job.path):
        info = with_copy(job.path, cache, lambda path: _send_read(sender, replace(job, path=path), decoder, threads))
    else:
        info = _send_read(sender, job, decoder, threads)
    return info, max(0.0, time.perf_counter() - began - sender.sending_s)


def _send_read(sender: ChunkSender, job: DecodeJob, decoder: str, threads: int) -> VideoInfo:
    truncated = job.truncated == "use"

    def read(info: VideoInfo, indices_T: np.ndarray) -> tuple[None, VideoInfo]:
        sender.announce(info, indices_T, frame_times(job.path, truncated)[indices_T])
        return None, read_into(
            sender, job.path, indices_T, decoder, size=job.size, threads=threads, truncated=truncated
        )

    return read_chosen(job, decoder, read)[1]


def _send_all(sender: ChunkSender, video: VideoFrames | DecodeError) -> VideoInfo:
    """Sends what a decoder of one's own gives, which is all at once."""
    if isinstance(video, DecodeError):
        raise video
    sender.announce(video.info, np.asarray(video.indices), video.times_s)
    frames, height, width = video.frames_THWC.shape[:3]
    sender.begin(frames, height, width, threads=1)
    for slot, frame_HWC in enumerate(video.frames_THWC):
        sender.put(slot, frame_HWC)
    return video.info
