"""Decoding under a deadline, in child processes that can be killed and replaced.

Children are plain programs (`liteframe.data.decoding.processes.worker`) on pipes, because loader workers may not have
`multiprocessing` children.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from liteframe.data.decoding import decord_reader
from liteframe.data.decoding.decode import DECODERS, NEXT
from liteframe.data.decoding.processes.answers import checked, settled
from liteframe.data.decoding.processes.child import Child, Lost, start_child
from liteframe.data.decoding.processes.choice import require_sendable
from liteframe.data.decoding.processes.frame_stream import ENDED, FrameStream
from liteframe.data.decoding.processes.imports import folders_of
from liteframe.data.decoding.processes.job import DecodeJob, VideoFrames
from liteframe.data.decoding.processes.threads import as_they_come, in_order
from liteframe.data.decoding.processes.time_left import TimeLeft
from liteframe.data.decoding.processes.worker import one_line, request
from liteframe.data.remote.cache import RemoteCache
from liteframe.data.remote.file import is_url
from liteframe.errors import ConfigError, DecodeError, LiteFrameError
from liteframe.system.running_clock import clock

_SHARE_OF_FIRST = 0.75
"""Of the deadline, for the first decoder."""
_DECODE = "liteframe.data.decoding.processes.job:decode"
_SEND_CHUNKS = "liteframe.data.decoding.processes.frame_chunks:send_chunks"
_Request = Callable[[], bytes]
_Run = Callable[[Iterable[Callable[[], Any]], int, Callable[[], None]], Iterator[Any]]

__all__ = ["DecodeJob", "DecodePool", "VideoFrames"]


class DecodePool:
    """Decodes videos in child processes, each job under its own deadline.

    The deadline is for progress: each frame read begins it anew, so that a long video is waited for and a hang is not.
    In all, a job may take 20 deadlines and a second for each 32 KiB of its file.

    A job whose child dies is tried once more in another one. Where the decoder of `auto` has crashed twice, or has hung
    for most of the deadline, the next one is tried, if it is known to be right on such files.

    Children start when first needed. A pool that was made before a fork, or sent to another process by pickle, starts
    its own children there.

    Args:
        processes: how many children at most, for each thread that asks; of those that are idle, that many are kept.
        deadline_s: seconds without progress after which the child of a job is killed.
        decoder: "auto", "decord", "pyav", "torchcodec", or the import path "package.module:function" of a decoder of
            your own: `function(path: str, job: DecodeJob) -> VideoFrames`, called in a child. It may call
            `liteframe.data.decoding.heartbeat.step` to say that it goes on.
        recycle_after: a child is replaced after so many jobs, which bounds what leaks in decoders can pile up.
        remote_cache: where children fetch videos with URLs; without it those are a ConfigError.
        threads: that each child may read one video with.
        setting: the user's name of `deadline_s`, for messages.
        nice: by how much streams give way to what else the cores do, as the system's command of that name.
    """

    def __init__(
        self,
        processes: int = 1,
        deadline_s: float = 30.0,
        decoder: str = "auto",
        recycle_after: int = 2000,
        remote_cache: RemoteCache | None = None,
        threads: int = 1,
        setting: str = "deadline_s",
        nice: int = 0,
    ) -> None:
        if processes < 1:
            raise ConfigError(f"processes: {processes} must be at least 1")
        if not deadline_s > 0:
            raise ConfigError(f"deadline_s: {deadline_s} must be above 0 seconds")
        if recycle_after < 1:
            raise ConfigError(f"recycle_after: {recycle_after} must be at least 1")
        if decoder not in DECODERS and ":" not in decoder:
            raise ConfigError(f"decoder: {decoder!r} is none of {', '.join(DECODERS)}, nor a 'package.module:function'")
        self.processes, self.deadline_s, self.decoder, self.recycle_after = (
            processes,
            deadline_s,
            decoder,
            recycle_after,
        )
        self.remote_cache, self.threads, self.setting, self.nice = remote_cache, threads, setting, nice
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._idle: deque[Child] = deque()
        self._all: set[Child] = set()
        self._streams = weakref.WeakSet[FrameStream]()
        self._stopping = False
        _pools.add(self)

    def __getstate__(self) -> dict[str, Any]:
        names = ("processes", "deadline_s", "decoder", "recycle_after", "remote_cache", "threads", "setting", "nice")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def __enter__(self) -> DecodePool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_pid"):
            self.close()

    def _own(self) -> None:
        """After a fork: lets go of the parent's children without touching them."""
        if self._pid != os.getpid():
            for child in self._all:
                child.forget()
            self._reset()

    def close(self) -> None:
        """Ends all children and streams; the pool can be used again and then starts new ones."""
        self._own()
        for stream in list(self._streams):
            stream.close()
        with self._lock:
            children, self._all = self._all, set()
            self._idle.clear()
        for child in children:
            child.close()

    def _stop(self) -> None:
        """Ends all children, so that the threads which wait for answers end, and lets none take up what they are at."""
        with self._lock:
            self._stopping = True
        self.close()

    def children(self) -> list[int]:
        """Process ids of the children that run now."""
        self._own()
        with self._lock:
            return [child.process.pid for child in self._all if child.alive]

    def run(self, jobs: Sequence[DecodeJob], deadline_s: float | None = None) -> list[VideoFrames | DecodeError]:
        """Decodes `jobs`, several at a time; returns the videos, or why they fail, in the order of the jobs.

        Args:
            jobs: what to decode.
            deadline_s: for these, in place of that of the pool.

        Raises:
            LiteFrameError: no fault of a video: a sampler fails on any, or no decode process can be started.
        """
        results: list[VideoFrames | DecodeError | None] = [None] * len(jobs)
        for index, result in self._each([partial(self._decode, job, deadline_s or self.deadline_s) for job in jobs]):
            results[index] = result
        if any(result is None for result in results):
            raise RuntimeError("a decode call gave no answer")
        return results  # type: ignore[return-value]

    def stream(self, job: DecodeJob, chunk_frames: int, ahead: int = 2, deadline_s: float | None = None) -> FrameStream:
        """Decodes a job whose frames are in order, in chunks that are used while it decodes on.

        A process that dies on the way is replaced by one that goes on with the frames that have not come yet.

        Args:
            job: what to decode.
            chunk_frames: frames of a chunk; the last may have fewer.
            ahead: chunks that are received before they are asked for; the process has a few more, 64 MiB at most.
            deadline_s: seconds without progress, in place of that of the pool; none pass while nobody takes chunks.
        """
        self._own()
        stream = FrameStream(job, ahead)
        self._streams.add(stream)
        return stream.start(partial(self._fill, job, chunk_frames, deadline_s or self.deadline_s))

    def _fill(self, job: DecodeJob, chunk_frames: int, deadline_s: float, stream: FrameStream) -> Any:
        def requested(decoder: str) -> bytes:
            return self._request(_SEND_CHUNKS, stream.job_left(), decoder, chunk_frames, self.nice)

        requests = [partial(requested, name) for name in self._decoders()]
        return _or_error(
            job.path,
            lambda: settled(job.path, self._ask_in_turn(job.path, requests, deadline_s, stream), self.setting),
        )

    def call(self, calls: Iterable[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        """Calls functions in the children, each under the deadline; yields (index, result or DecodeError) as they come.

        Args:
            calls: (path of the video it is about, "package.module:function", arguments) each; with other arguments
                behind, it is called with those where it has crashed or hung. They are taken as there is time for them.

        Raises:
            ConfigError: a call raised such an error.
            LiteFrameError: no decode process can be started.
        """
        return self._each(partial(self._call, *call) for call in calls)

    def call_in_order(self, calls: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """As `call`, but yields the results alone, in the order of the calls, of which few are ahead."""
        return self._each((partial(self._call, *call) for call in calls), in_order)

    def _each(self, tasks: Iterable[Callable[[], Any]], run: _Run = as_they_come) -> Iterator[Any]:
        self._own()
        try:
            yield from run(tasks, self.processes, self._stop)
        finally:
            self._stopping = False

    def _decode(self, job: DecodeJob, deadline_s: float) -> VideoFrames | DecodeError:
        return _or_error(job.path, lambda: checked(job, self._read(job, deadline_s)))

    def _read(self, job: DecodeJob, deadline_s: float) -> Any:
        requests = [partial(self._request, _DECODE, job, name) for name in self._decoders()]
        return settled(job.path, self._ask_in_turn(job.path, requests, deadline_s), self.setting)

    def _decoders(self) -> Sequence[str]:
        return (self.decoder, NEXT) if self.decoder == "auto" and decord_reader.available() else (self.decoder,)

    def _request(self, function: str, job: DecodeJob, decoder: str, *more: Any) -> bytes:
        modules = [] if job.sampler is None else [type(job.sampler).__module__]
        if self.decoder not in DECODERS:
            modules.append(self.decoder.partition(":")[0])
        arguments = (job, decoder, self.remote_cache, self.threads, *more)
        try:
            return request(function, arguments, folders_of(modules))
        except Exception:  # whatever pickling raises
            require_sendable(job.sampler)
            raise

    def _call(self, path: str, function: str, *arguments: tuple[Any, ...]) -> Any:
        requests = [partial(request, function, each) for each in arguments]
        return _or_error(path, lambda: settled(path, self._ask_in_turn(path, requests, self.deadline_s), self.setting))

    def _ask_in_turn(
        self, path: str, requests: Sequence[_Request], deadline_s: float, stream: FrameStream | None = None
    ) -> tuple[str, Any] | Lost:
        """The answer to the first request; where its child is lost, to the second, if there is one and it succeeds."""
        deadline_s += self._fetching_s(path)
        left = TimeLeft.of_video(path, deadline_s, self.remote_cache)
        answer = self._ask(requests[0], left, deadline_s * (_SHARE_OF_FIRST if len(requests) > 1 else 1.0), stream)
        for message in requests[1:]:
            if isinstance(answer, Lost) and left.all() > 0:
                other = self._ask_once(message, left, deadline_s, stream)
                answer = other if not isinstance(other, Lost) and other[0] == "ok" else answer
        return answer

    def _ask(
        self, message: _Request, left: TimeLeft, deadline_s: float, stream: FrameStream | None
    ) -> tuple[str, Any] | Lost:
        """What a child answers, or why none did. One that dies may do so by chance: another is asked."""
        answer = self._ask_once(message, left, deadline_s, stream)
        if isinstance(answer, Lost) and not answer.timed_out and min(left.idle, left.all()) > 0:
            return self._ask_once(message, left, deadline_s, stream)
        return answer

    def _ask_once(
        self, message: _Request, left: TimeLeft, deadline_s: float, stream: FrameStream | None
    ) -> tuple[str, Any] | Lost:
        if stream is not None and not stream.is_wanted:
            return Lost(False, ENDED)
        asked = message()
        try:
            child = self._take()  # whose start is not of the video's time
        except Lost as lost:
            return lost
        started, taking_s = clock.now(), 0.0

        def take(part: Any, on_its_way_s: float) -> bool:
            nonlocal taking_s
            assert stream is not None
            began = clock.now()
            of_use = stream.take(part, on_its_way_s)
            taking_s += clock.now() - began
            return of_use

        try:
            if stream is None:
                return child.ask(asked, min(deadline_s, left.idle), left.all)
            if not stream.attend_to(child):
                return Lost(False, ENDED)
            return child.ask(asked, min(deadline_s, left.idle), left.all, take)
        except Lost as lost:
            left.idle -= lost.idle_s
            return lost
        finally:
            left.spent += clock.now() - started - taking_s
            if stream is not None:
                stream.attend_to(None)  # before another job has it
            self._give_back(child)

    def _fetching_s(self, path: str) -> float:
        return self.remote_cache.deadline_s if self.remote_cache is not None and is_url(path) else 0.0

    def _take(self) -> Child:
        with self._lock:
            while self._idle and not self._stopping:
                child = self._idle.popleft()
                if child.alive and child.served < self.recycle_after:
                    return child
                self._all.discard(child)
                child.close()
        if not self._stopping:
            child = start_child()
            with self._lock:
                if not self._stopping:
                    self._all.add(child)
                    return child
            child.close()
        raise Lost(False, ENDED)

    def _give_back(self, child: Child) -> None:
        with self._lock:
            if child in self._all and child.alive and len(self._idle) < self.processes:
                self._idle.append(child)
                return
            self._all.discard(child)
        child.close()


def _or_error(path: str, work: Callable[[], Any]) -> Any:
    """What `work` returns; whatever goes wrong with one video is that video's error, but for faults of settings."""
    try:
        return work()
    except LiteFrameError:
        raise
    except Exception as error:
        return DecodeError(path, one_line(error))


_pools: weakref.WeakSet[DecodePool] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for pool in list(_pools):
        pool.close()
