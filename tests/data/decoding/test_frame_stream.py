"""Frames in chunks: those of `DecodePool.run`, in bounded memory, whatever becomes of the process that decodes them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from installed_decoders import INSTALLED
from painted_videos import write_video

from liteframe.data.decoding.decode import VideoInfo
from liteframe.data.decoding.processes.child import Child
from liteframe.data.decoding.processes.frame_chunks import Begin, ChunkSender
from liteframe.data.decoding.processes.frame_stream import FrameStream, StartedOver
from liteframe.data.decoding.processes.pool import DecodeJob, DecodePool, VideoFrames
from liteframe.data.sampling import UniformMidpoints
from liteframe.errors import ConfigError, DecodeError, DecodeTimeout
from slow_decoders import Doubtful, HangingMidway

LARGE = (448, 448)
"""Of a frame's size, two fill the pipe."""


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    """60 painted frames in five groups of pictures."""
    return str(write_video(tmp_path_factory.mktemp("videos") / "good.mp4", 60, options={"g": "12"}))


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool(deadline_s=60, threads=2) as pool:
        yield pool


def at_once(pool: DecodePool, job: DecodeJob) -> VideoFrames:
    (whole,) = pool.run([job])
    assert isinstance(whole, VideoFrames), whole
    return whole


def to_the_end(stream: FrameStream) -> list[np.ndarray]:
    """All chunks that count."""
    while True:
        try:
            return list(stream)
        except StartedOver:
            continue


def info(path: str, frames: int) -> VideoInfo:
    return VideoInfo(path, "h264", 4, 4, 25.0, frames, frames / 25, 0, "pyav")


@pytest.mark.parametrize("frames", [1, 17, 60])
@pytest.mark.parametrize("decoder", INSTALLED)
def test_chunks_are_the_frames_of_a_whole_read(decoder: str, frames: int, video: str) -> None:
    job = DecodeJob(video, UniformMidpoints(), frames, size=(28, 28))
    with DecodePool(deadline_s=60, decoder=decoder, threads=2) as pool:
        whole = at_once(pool, job)
        with pool.stream(job, chunk_frames=4) as stream:
            assert stream.info == whole.info and np.array_equal(stream.indices, whole.indices)
            assert stream.times_s is not None and np.array_equal(stream.times_s, whole.times_s)
            chunks = list(stream)
        assert [len(chunk) for chunk in chunks] == [4] * (frames // 4) + [frames % 4] * (frames % 4 > 0)
        assert np.array_equal(np.concatenate(chunks), whole.frames_THWC)
        assert stream.decode_s > 0 and stream.transfer_s > 0 and stream.wait_s > 0
        assert len(pool.children()) == 1


def test_a_decoder_of_ones_own_is_streamed_as_well(video: str) -> None:
    job = DecodeJob(video, UniformMidpoints(), 10)
    with DecodePool(deadline_s=60, decoder="slow_decoders:raises_on_bad") as pool:
        whole = at_once(pool, job)
        with pool.stream(job, chunk_frames=3) as stream:
            assert np.array_equal(np.concatenate(list(stream)), whole.frames_THWC)


def test_frames_out_of_order_are_refused(pool: DecodePool, video: str) -> None:
    with pool.stream(DecodeJob(video, indices=(3, 3, 5)), 2) as stream, pytest.raises(ConfigError, match="in order"):
        list(stream)


def test_a_lost_process_is_replaced_by_one_that_goes_on(pool: DecodePool, video: str) -> None:
    job = DecodeJob(video, UniformMidpoints(), 40, size=LARGE)
    whole = at_once(pool, job)
    with pool.stream(job, chunk_frames=4, ahead=1) as stream:
        chunks = iter(stream)
        taken = [next(chunks)]
        (lost,) = pool.children()
        os.kill(lost, signal.SIGKILL)
        taken += chunks
        assert np.array_equal(np.concatenate(taken), whole.frames_THWC)
        assert lost not in pool.children() and len(stream.indices) == 40


def test_a_cancelled_stream_wakes_who_waits_and_asks_no_other_process(video: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(Path(video).read_bytes())
    job = DecodeJob(str(bad), UniformMidpoints(), 4)
    with (
        DecodePool(deadline_s=600, decoder="slow_decoders:sleeps_for_ever_on_bad") as pool,
        ThreadPoolExecutor() as at_work,
    ):
        at_once(pool, replace(job, path=video))
        (child,) = pool.children()
        with pool.stream(job, chunk_frames=2) as stream:
            waits = at_work.submit(list, stream)
            while stream._child is None:
                time.sleep(0.01)
            stream.cancel()
            with pytest.raises(DecodeError, match="the work was ended"):
                waits.result(60)
        assert pool.children() == [] and not psutil.pid_exists(child)


def test_a_stream_cancelled_at_its_end_leaves_the_process_to_the_next_job(video: str) -> None:
    class CancelledThen(DecodePool):
        def _give_back(self, child: Child) -> None:
            super()._give_back(child)
            for stream in self._streams:
                stream.cancel()

    with CancelledThen() as pool:
        stream = pool.stream(DecodeJob(video, UniformMidpoints(), 4), chunk_frames=4)
        assert stream._thread is not None
        stream._thread.join(60)
        (child,) = pool.children()
        assert at_once(pool, DecodeJob(video, UniformMidpoints(), 4)).indices.tolist() == [7, 22, 37, 51]
        assert pool.children() == [child]


def test_a_process_that_is_lost_twice_is_an_error_of_the_video(pool: DecodePool, video: str) -> None:
    with pool.stream(DecodeJob(video, UniformMidpoints(), 40, size=LARGE), chunk_frames=2, ahead=1) as stream:
        chunks = iter(stream)
        next(chunks)
        with pytest.raises(DecodeError, match=r"good\.mp4.*SIGKILL"):
            for _ in chunks:
                for child in pool.children():
                    os.kill(child, signal.SIGKILL)


def test_frames_that_turn_out_wrong_are_called_back(video: str) -> None:
    with DecodePool(deadline_s=60) as pool:
        job = DecodeJob(video, UniformMidpoints(), 20, size=(28, 28))
        whole = at_once(pool, job)
        with pool.stream(replace(job, sampler=Doubtful()), chunk_frames=4) as stream:
            chunks = iter(stream)
            assert not next(chunks).any()
            with pytest.raises(StartedOver, match=r"good\.mp4"):
                list(chunks)
            assert np.array_equal(np.concatenate(to_the_end(stream)), whole.frames_THWC)


def test_frames_of_another_number_begin_anew() -> None:
    """A process says first what the packets tell, then what decoding has shown."""
    first, second = (Begin(info("a.mp4", count), np.arange(count), None, 1) for count in (5, 4))
    frames = np.zeros((4, 2, 2, 3), np.uint8)

    def read(stream: FrameStream) -> Any:
        assert stream.take(first, 0.0) and stream.take(frames, 0.0)
        taken.wait(60)
        assert stream.take(second, 0.0) and stream.take(frames + 1, 0.0)
        return second.info, 1.0

    taken = threading.Event()
    with FrameStream(DecodeJob("a.mp4"), 2).start(read) as stream:
        chunks = iter(stream)
        assert len(stream.indices) == 5 and not next(chunks).any()
        taken.set()
        with pytest.raises(StartedOver):
            next(chunks)
        assert [chunk.min() for chunk in stream] == [1] and len(stream.indices) == 4


@pytest.mark.parametrize("again", [(5, [2, 3, 4]), (4, [2, 3])])
def test_a_second_process_that_tells_of_other_frames_is_refused(again: tuple[int, list[int]]) -> None:
    """It is asked for the last two of four frames."""

    def read(stream: FrameStream) -> Any:
        stream.job_left()
        assert stream.take(Begin(info("a.mp4", 4), np.arange(4), None, 1), 0.0)
        assert stream.take(np.zeros((2, 2, 2, 3), np.uint8), 0.0)
        assert stream.job_left().indices == (2, 3)
        frames, indices = again
        right = stream.take(Begin(info("a.mp4", frames), np.array(indices), None, 1), 0.0)
        assert right == (frames == 4)
        if right:
            assert stream.take(np.zeros((2, 2, 2, 3), np.uint8), 0.0)
        return None, 1.0

    with FrameStream(DecodeJob("a.mp4"), 4).start(read) as stream:
        if again[0] == 4:
            assert sum(len(chunk) for chunk in stream) == 4
        else:
            with pytest.raises(DecodeError, match="other frames each time"):
                list(stream)


def test_no_more_than_what_may_be_ahead_is_received() -> None:
    received = 0

    def read(stream: FrameStream) -> Any:
        nonlocal received
        stream.take(Begin(info("a.mp4", 50), np.arange(50), None, 1), 0.0)
        for _ in range(50):
            stream.take(np.zeros((1, 2, 2, 3), np.uint8), 0.0)
            received += 1
        return None, 1.0

    with FrameStream(DecodeJob("a.mp4"), 3).start(read) as stream:
        for taken, _ in enumerate(stream, 1):
            time.sleep(0.002)
            assert received <= taken + 3
        assert taken == 50


def test_nobody_decodes_once_all_frames_are_here() -> None:
    """The process has yet to say that it is done, for which the encoder need not leave it a core."""
    stream = FrameStream(DecodeJob("a.mp4"), 3)
    assert stream.threads_at_work == 0
    stream.take(Begin(info("a.mp4", 5), np.arange(5), None, threads=2), 0.0)
    for frames, threads in ((2, 2), (2, 2), (1, 0)):
        stream.take(np.zeros((frames, 2, 2, 3), np.uint8), 0.0)
        assert stream.threads_at_work == threads


def test_threads_that_decode_are_held_back_until_their_frames_are_due() -> None:
    """One thread has the first half of the frames, another the second, which must not all be held."""
    sent: list[Any] = []
    sender = ChunkSender(2, sent.append)
    sender.announce(info("a.mp4", 400), np.arange(400), None)
    height = width = 1024
    held = sender.held(400, height, width)
    assert held == 20
    sender.begin(400, height, width, threads=2)
    frame_HWC, late = np.zeros((height, width, 3), np.uint8), list[int]()

    def put(slots: range) -> None:
        for slot in slots:
            sender.put(slot, frame_HWC)
            late.append(slot)

    with ThreadPoolExecutor(2) as threads:
        second = threads.submit(put, range(10, 60))
        while max(late, default=0) < held - 1:
            time.sleep(0.01)
        time.sleep(0.05)  # in which more would come
        assert max(late) == held - 1 and len(sent) == 1
        put(range(10))
        second.result()
    assert [len(chunk) for chunk in sent[1:]] == [2] * 30


def test_a_thread_that_waits_for_another_ends_when_that_fails() -> None:
    sender = ChunkSender(1, lambda part: None)
    sender.announce(info("a.mp4", 400), np.arange(400), None)
    sender.begin(400, 2048, 2048, threads=2)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(sender.put, 399, np.zeros((2048, 2048, 3), np.uint8))
        sender.give_up()
        waiting.result(60)


def test_who_takes_chunks_slowly_meets_no_deadline(video: str) -> None:
    with DecodePool(deadline_s=1.0) as pool:
        job = DecodeJob(video, UniformMidpoints(), 20, size=LARGE)
        whole = at_once(pool, job)
        with pool.stream(job, chunk_frames=2, ahead=1) as stream:
            taken = []
            for number, chunk in enumerate(stream):
                time.sleep(1.5 * (number == 1))
                taken.append(chunk)
        assert np.array_equal(np.concatenate(taken), whole.frames_THWC)


def test_a_decoder_that_hangs_midway_meets_the_deadline(video: str) -> None:
    with DecodePool(deadline_s=1.0, decoder="pyav", setting="--deadline_s") as pool:
        job = DecodeJob(video, HangingMidway(), 20, size=(28, 28))
        with pool.stream(job, chunk_frames=2) as stream:
            chunks = iter(stream)
            assert len(next(chunks)) == 2
            with pytest.raises(DecodeTimeout, match=r"good\.mp4.*--deadline_s"):
                list(chunks)


def test_damage_midway_is_an_error_that_names_the_file(pool: DecodePool, video: str, tmp_path: Path) -> None:
    data = bytearray(Path(video).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = b"\xff" * 400
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(data)
    job = DecodeJob(str(bad), UniformMidpoints(), 60, size=(28, 28))
    (whole,) = pool.run([job])
    assert isinstance(whole, DecodeError)
    with pool.stream(job, chunk_frames=4, ahead=1) as stream, pytest.raises(DecodeError, match=r"bad\.mp4.*damage"):
        to_the_end(stream)


def test_a_stream_that_is_left_early_ends_its_process(pool: DecodePool, video: str) -> None:
    with pool.stream(DecodeJob(video, UniformMidpoints(), 40, size=LARGE), chunk_frames=2, ahead=1) as stream:
        next(iter(stream))
        (child,) = pool.children()
    assert child not in pool.children()
    assert at_once(pool, DecodeJob(video, UniformMidpoints(), 4)).indices.tolist() == [7, 22, 37, 51]


_INTERRUPTED = """
import os, signal, sys
from liteframe.data.decoding.processes.pool import DecodeJob, DecodePool
from liteframe.data.sampling import UniformMidpoints
signal.signal(signal.SIGINT, signal.default_int_handler)  # what starts the tests may ignore it
pool = DecodePool(deadline_s=60)
with pool.stream(DecodeJob(sys.argv[1], UniformMidpoints(), 40, size=(448, 448)), 2, ahead=1) as stream:
    for chunk in stream:
        print(*pool.children(), flush=True)
        os.kill(os.getpid(), signal.SIGINT)
"""


def test_an_interrupt_leaves_no_process(video: str) -> None:
    done = subprocess.run([sys.executable, "-c", _INTERRUPTED, video], capture_output=True, text=True, timeout=60)
    assert "KeyboardInterrupt" in done.stderr
    (child,) = map(int, done.stdout.split())
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_who_was_told_of_other_frames_is_told_again() -> None:
    """Also before a chunk was taken, as what was made ready for so many would not fit."""
    told = threading.Event()

    def read(stream: FrameStream) -> Any:
        stream.take(Begin(info("a.mp4", 5), np.arange(5), None, 1), 0.0)
        told.wait(60)
        stream.take(Begin(info("a.mp4", 3), np.arange(3), None, 1), 0.0)
        stream.take(np.zeros((3, 28, 28, 3), np.uint8), 0.0)
        return info("a.mp4", 3), 1.0

    with FrameStream(DecodeJob("a.mp4"), 1).start(read) as stream:
        assert len(stream.indices) == 5
        told.set()
        with pytest.raises(StartedOver):
            list(stream)
        assert len(stream.indices) == 3 and [len(chunk) for chunk in stream] == [3]
