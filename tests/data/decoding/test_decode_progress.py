"""Deadlines are for progress: what goes on is waited for, what hangs is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from painted_videos import number_of, write_video

from liteframe.data.decoding import decord_reader, heartbeat
from liteframe.data.decoding.frame_resize import FrameResize
from liteframe.data.decoding.processes import time_left
from liteframe.data.decoding.processes.job import DecodeJob, VideoFrames
from liteframe.data.decoding.processes.pool import DecodePool
from liteframe.data.decoding.pyav.opening import open_video, packets_of
from liteframe.data.decoding.pyav.reader import read_in_order, read_sparse
from liteframe.data.decoding.pyav.scan import scan
from liteframe.data.remote.cache import RemoteCache
from liteframe.data.sampling import UniformMidpoints
from liteframe.errors import DecodeTimeout

SLOW = "slow_decoders:goes_on_slowly"
_READS = """
import sys
from liteframe.data.decoding.processes.pool import DecodeJob, DecodePool
from liteframe.data.sampling import UniformMidpoints

with DecodePool(deadline_s=3.0, decoder="slow_decoders:process_id") as pool:
    job = DecodeJob(sys.argv[1], UniformMidpoints(), 4, row={"sleep": 2.0})
    pool.run([DecodeJob(sys.argv[1], UniformMidpoints(), 4)])  # starts the child
    print(*pool.children(), flush=True)
    print(type(pool.run([job])[0]).__name__, flush=True)
"""


@pytest.fixture
def video(tmp_path: Path) -> str:
    return str(write_video(tmp_path / "a.mp4", 8))


def job(video: str, **row: object) -> DecodeJob:
    return DecodeJob(video, UniformMidpoints(), 4, row=row)


def test_a_video_is_not_given_up_while_it_goes_on(video: str) -> None:
    with DecodePool(deadline_s=0.8, decoder=SLOW) as pool:
        (result,) = pool.run([job(video, sleep=1.6)])
    assert isinstance(result, VideoFrames)
    assert [number_of(frame) for frame in result.frames_THWC] == result.indices.tolist()


def test_a_hang_behind_work_is_ended(video: str) -> None:
    with DecodePool(deadline_s=0.8, decoder=SLOW) as pool:
        (result,) = pool.run([job(video, sleep=1.0, hangs=True)])
    assert isinstance(result, DecodeTimeout)
    assert "no answer within 0.8 s, after " in result.reason and "s of work" in result.reason


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no process can be stopped")
def test_a_job_that_is_stopped_meanwhile_misses_no_deadline(video: str) -> None:
    command = [sys.executable, "-c", _READS, video]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as reader:
        assert reader.stdout is not None
        try:
            job = [reader.pid, int(reader.stdout.readline())]
            time.sleep(0.5)
            for number in (signal.SIGSTOP, signal.SIGCONT):
                for pid in job:
                    os.kill(pid, number)
                time.sleep(5 if number == signal.SIGSTOP else 0)
            assert reader.stdout.readline() == "VideoFrames\n"
        finally:
            reader.kill()


def test_what_goes_on_without_end_is_ended(video: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_left, "_MOST_DEADLINES", 2)
    with DecodePool(deadline_s=0.6, decoder=SLOW) as pool:
        (result,) = pool.run([job(video, sleep=60)])
    assert isinstance(result, DecodeTimeout) and "not done after 1.2 s, though it goes on" in result.reason
    assert result.reason.endswith("give it more by deadline_s")


def test_a_large_file_may_take_longer_than_20_deadlines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a long one all frames may have to be decoded to be counted; a short one that never ends is ended."""
    monkeypatch.setattr(time_left, "_MOST_DEADLINES", 1)
    monkeypatch.setattr(time_left, "_BYTES_A_SECOND", 10_000)
    path = write_video(tmp_path / "a.mkv", 8)
    with DecodePool(deadline_s=0.6, decoder=SLOW, setting="data.decode_deadline_s") as pool:
        (result,) = pool.run([job(str(path), sleep=1.2)])
        assert isinstance(result, DecodeTimeout) and "give it more by data.decode_deadline_s" in result.reason
        with path.open("ab") as file:
            file.write(bytes(10_000 * 10))
        (result,) = pool.run([job(str(path), sleep=1.2)])
    assert isinstance(result, VideoFrames)


def test_of_a_remote_video_the_copy_counts(tmp_path: Path) -> None:
    cache, url = RemoteCache(str(tmp_path)), "https://example.org/a.mp4"
    assert time_left.bytes_of(url, cache) == time_left.bytes_of(url, None) == 0
    cache.copy_of(url).write_bytes(bytes(1000))
    assert time_left.bytes_of(url, cache) == 1000


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    made: list[int] = []
    monkeypatch.setattr(heartbeat, "_SECONDS_APART", 0.0)
    heartbeat.report_to(lambda: made.append(1))
    yield made
    heartbeat.report_to(None)


def test_every_way_to_read_says_that_it_goes_on(tmp_path: Path, steps: list[int]) -> None:
    path = str(write_video(tmp_path / "a.mkv", 60, options={"g": "12"}))
    found = scan(path)
    assert len(steps) >= 60
    for read in (read_in_order, read_sparse):
        steps.clear()
        read(found, [11, 58])
        assert len(steps) >= 20
    steps.clear()
    scan(path, by_decoding=True)
    assert len(steps) >= 120


def test_packets_and_bytes_that_are_read_are_signs_of_life(tmp_path: Path, steps: list[int]) -> None:
    path = str(write_video(tmp_path / "a.avi", 60, codec="mpeg4", options={"qscale": "1"}))
    with open_video(path) as (container, stream, _):
        assert steps  # FFmpeg has looked at its start
        steps.clear()
        assert len(list(packets_of(path, container, stream))) <= len(steps)
        container.seek(0)
        steps.clear()
        next(container.demux(stream))
        assert not steps  # what is read again and again may be a hang


@pytest.mark.skipif(not decord_reader.available(), reason="decord is not installed")
def test_decord_says_that_it_goes_on(tmp_path: Path, steps: list[int]) -> None:
    path, resize = str(write_video(tmp_path / "a.mp4", 60)), FrameResize((64, 64), (64, 64))
    for in_order in (True, False):
        steps.clear()
        decord_reader.read(path, [11, 58], 60, resize, in_order)
        assert len(steps) >= (59 if in_order else 1)
