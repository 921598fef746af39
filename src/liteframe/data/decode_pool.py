"""Decoding under a deadline, in child processes that can be killed and replaced.

Children are plain programs (`liteframe.data.decode_worker`) on pipes, because loader workers may not have
`multiprocessing` children.
"""

from __future__ import annotations

import atexit
import os
import pickle
import threading
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any

import numpy as np

from liteframe.data.decode import DECODERS
from liteframe.data.decode_child import Child, Lost
from liteframe.data.decode_job import DecodedVideo, DecodeJob
from liteframe.data.remote_cache import RemoteCache
from liteframe.data.remote_file import is_url
from liteframe.errors import ConfigError, DecodeError, DecodeTimeout

__all__ = ["DecodeJob", "DecodePool", "DecodedVideo"]


class DecodePool:
    """Decodes videos in child processes, each job under its own deadline.

    Children start when first needed. A pool that was made before a fork, or sent to another process by pickle, starts
    its own children there.

    Args:
        processes: how many children at most.
        deadline_s: seconds a job may take before its child is killed.
        decoder: "auto", "decord", "pyav", or the import path "package.module:function" of a decoder of your own:
            `function(path: str, job: DecodeJob) -> DecodedVideo`, called in a child.
        recycle_after: a child is replaced after so many jobs, which bounds what leaks in decoders can pile up.
        remote_cache: where children fetch videos with URLs; without it those are a ConfigError.
    """

    def __init__(
        self,
        processes: int = 1,
        deadline_s: float = 30.0,
        decoder: str = "auto",
        recycle_after: int = 2000,
        remote_cache: RemoteCache | None = None,
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
        self.remote_cache = remote_cache
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._idle: deque[Child] = deque()
        self._all: set[Child] = set()
        _pools.add(self)

    def __getstate__(self) -> dict[str, Any]:
        names = ("processes", "deadline_s", "decoder", "recycle_after", "remote_cache")
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
        """Ends all children; the pool can be used again and then starts new ones."""
        self._own()
        with self._lock:
            children, self._all = self._all, set()
            self._idle.clear()
        for child in children:
            child.close()

    def children(self) -> list[int]:
        """Process ids of the children that run now."""
        self._own()
        with self._lock:
            return [child.process.pid for child in self._all if child.alive]

    def run(self, jobs: Sequence[DecodeJob]) -> list[DecodedVideo | DecodeError]:
        """Decodes `jobs`, several at a time; returns the videos, or why they fail, in the order of the jobs.

        Raises:
            LiteFrameError: no fault of a video: a sampler fails or a decode process cannot be started.
        """
        results: list[DecodedVideo | DecodeError | None] = [None] * len(jobs)
        calls = [(job.path, "liteframe.data.decode_job:decode", (job, self.decoder, self.remote_cache)) for job in jobs]
        for index, result in self.call(calls):
            results[index] = result if isinstance(result, DecodeError) else _checked(jobs[index], result)
        if any(result is None for result in results):
            raise RuntimeError("a decode call gave no answer")
        return results  # type: ignore[return-value]

    def call(self, calls: Sequence[tuple[str, str, tuple[Any, ...]]]) -> Iterator[tuple[int, Any]]:
        """Calls functions in the children, each under the deadline; yields (index, result or DecodeError) as they come.

        Args:
            calls: (path of the video it is about, "package.module:function", arguments) each.

        Raises:
            LiteFrameError: a call raised such an error other than DecodeError, or a decode process cannot be started.
        """
        self._own()
        requests = [pickle.dumps((function, arguments), protocol=5) for _, function, arguments in calls]
        workers = min(self.processes, len(calls))
        if workers <= 1:
            for index, (path, _, _) in enumerate(calls):
                yield index, self._call(path, requests[index])
            return
        with ThreadPoolExecutor(workers, "liteframe-decode") as threads:
            pending: dict[Future[Any], int] = {}
            upcoming = iter(range(len(calls)))
            try:
                while True:
                    for index in islice(upcoming, workers - len(pending)):
                        pending[threads.submit(self._call, calls[index][0], requests[index])] = index
                    if not pending:
                        return
                    for future in wait(pending, return_when=FIRST_COMPLETED).done:
                        yield pending.pop(future), future.result()
            except BaseException:
                self.close()  # so that the threads, which wait for answers, end now
                raise

    def _call(self, path: str, request: bytes) -> Any:
        child = self._take()
        try:
            kind, result = child.ask(request, self._deadline_s(path))
        except Lost as lost:
            return (DecodeTimeout if lost.timed_out else DecodeError)(path, lost.reason)
        finally:
            self._give_back(child)
        if kind == "crash":
            return DecodeError(path, result)
        if kind == "error" and not isinstance(result, DecodeError):
            raise result
        return result

    def _deadline_s(self, path: str) -> float:
        fetching = self.remote_cache.deadline_s if self.remote_cache is not None and is_url(path) else 0.0
        return self.deadline_s + fetching

    def _take(self) -> Child:
        with self._lock:
            while self._idle:
                child = self._idle.popleft()
                if child.alive and child.served < self.recycle_after:
                    return child
                self._all.discard(child)
                child.close()
        child = Child()
        with self._lock:
            self._all.add(child)
        return child

    def _give_back(self, child: Child) -> None:
        with self._lock:
            if child in self._all and child.alive:
                self._idle.append(child)
                return
            self._all.discard(child)
        child.close()


def _checked(job: DecodeJob, video: Any) -> DecodedVideo | DecodeError:
    """`video`, or why it is not what was asked for."""
    if not isinstance(video, DecodedVideo):
        return DecodeError(job.path, f"the decoder returned {type(video).__name__} instead of a DecodedVideo")
    frames, indices = np.asarray(video.frames), np.asarray(video.indices)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
        return DecodeError(
            job.path, f"the decoder returned {frames.dtype} frames of shape {frames.shape}, not uint8 (T, H, W, 3)"
        )
    if len(frames) == 0 or frames.shape[0] != len(indices) or indices.ndim != 1:
        return DecodeError(
            job.path, f"the decoder returned {frames.shape[0]} frames for the indices {indices.tolist()}"
        )
    if job.indices is not None:
        if not np.array_equal(indices, np.asarray(job.indices)):
            return DecodeError(
                job.path, f"the decoder returned the frames {indices.tolist()} instead of {list(job.indices)}"
            )
    elif (np.diff(indices) <= 0).any() or indices[0] < 0 or indices[-1] >= video.info.frames:
        return DecodeError(
            job.path, f"the decoder returned frames out of order or range: {indices.tolist()} of {video.info.frames}"
        )
    return video


_pools: weakref.WeakSet[DecodePool] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for pool in list(_pools):
        pool.close()
