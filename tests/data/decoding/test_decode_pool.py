from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from painted_videos import number_of, write_video

from liteframe.data.decoding.processes import child
from liteframe.data.decoding.processes.pool import DecodeJob, DecodePool, VideoFrames
from liteframe.data.sampling import FpsCapped, KeyFrames, RandomSegment, UniformMidpoints
from liteframe.errors import ConfigError, DecodeError, DecodeTimeout, LiteFrameError
from slow_decoders import WRONG_TIMES, FailingSampler, GreedySampler


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    """60 painted frames at 25 frames a second."""
    return str(write_video(tmp_path_factory.mktemp("videos") / "good.mp4", 60, options={"g": "12"}))


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool(deadline_s=60) as pool:
        yield pool


def painted(video: VideoFrames | DecodeError) -> list[int]:
    assert isinstance(video, VideoFrames), video
    numbers = [number_of(frame) for frame in video.frames_THWC]
    assert numbers == video.indices.tolist()
    return numbers


def test_the_sampler_runs_on_the_true_number_of_frames(pool: DecodePool, video: str) -> None:
    job = DecodeJob(video, UniformMidpoints(), 8)
    (result,) = pool.run([job])
    expected = UniformMidpoints().indices(60, 8, 25.0, np.random.default_rng(0), {})
    assert painted(result) == expected.tolist()
    assert isinstance(result, VideoFrames) and result.info.frames == 60 and result.decode_s > 0
    assert result.indices.dtype == np.int64 and result.frames_THWC.flags.writeable


@pytest.mark.parametrize("dies", [False, True])
def test_a_child_that_was_started_ahead_is_the_next_one(
    video: str, dies: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "_PAUSES_S", (0.0, 0.0))
    child.start_ahead()
    child.start_ahead()
    (started,) = child._ahead
    if dies:
        started.process.kill()
    with DecodePool(deadline_s=60) as pool:
        (result,) = pool.run([DecodeJob(video, indices=(5, 9, 41))])
        assert painted(result) == [5, 9, 41]
        assert (pool.children() == [started.process.pid]) == (not dies)
    assert not child._ahead and not started.alive


def test_the_seed_decides_the_frames(pool: DecodePool, video: str) -> None:
    jobs = [DecodeJob(video, RandomSegment(), 8, seed=seed) for seed in (1, 2, 3, 1)]
    numbers = [painted(result) for result in pool.run(jobs)]
    assert numbers[0] == numbers[3] and len({tuple(n) for n in numbers}) > 1


def test_exact_indices_and_segments(pool: DecodePool, video: str) -> None:
    sampler = UniformMidpoints()
    jobs = [
        DecodeJob(video, indices=(5, 9, 41)),
        DecodeJob(video, sampler, 100, start_s=0.4, end_s=0.8),
        DecodeJob(video, sampler, None, start_s=2.2),
        DecodeJob(video, FpsCapped(fps=5.0), None),
        DecodeJob(video, KeyFrames(), 2, row={"key_frames": [3, 12, 14]}, start_s=0.4, end_s=0.8),
        DecodeJob(video, sampler, 4, start_s=9.0, end_s=10.0),
    ]
    *videos, beyond = pool.run(jobs)
    assert [painted(result) for result in videos] == [
        [5, 9, 41],
        list(range(10, 20)),
        list(range(55, 60)),
        list(range(0, 60, 5)),
        [12, 14],
    ]
    assert isinstance(beyond, DecodeError) and "2.40 s long" in beyond.reason


def test_the_decoder_of_a_checked_row_overrides_auto(pool: DecodePool, video: str) -> None:
    (result,) = pool.run([DecodeJob(video, UniformMidpoints(), 2, row={"decoder": "pyav"})])
    assert isinstance(result, VideoFrames) and result.info.decoder == "pyav"


def test_broken_files_do_not_stop_the_others(pool: DecodePool, video: str, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    paths = [str(tmp_path / "empty.mp4"), video, str(tmp_path / "missing.mp4"), video]
    results = pool.run([DecodeJob(path, UniformMidpoints(), 4) for path in paths])
    assert [type(result) for result in results] == [DecodeError, VideoFrames, DecodeError, VideoFrames]
    assert "empty" in str(results[0]) and paths[0] in str(results[0]) and "no such file" in str(results[2])


@pytest.mark.parametrize("processes", [1, 2])
def test_a_decoder_that_sleeps_for_ever_is_killed_and_the_others_go_on(
    processes: int, video: str, tmp_path: Path
) -> None:
    bad = str(tmp_path / "bad.mp4")
    jobs = [DecodeJob(path, UniformMidpoints(), 4) for path in (video, bad, video, bad, video)]
    with DecodePool(processes, deadline_s=3.0, decoder="slow_decoders:sleeps_for_ever_on_bad") as pool:
        results = pool.run(jobs)
        assert [type(result) for result in results] == [
            VideoFrames,
            DecodeTimeout,
            VideoFrames,
            DecodeTimeout,
            VideoFrames,
        ]
        assert "within 3 s" in str(results[1]) and bad in str(results[1])


@pytest.mark.parametrize("decoder, reason", [("dies_on_bad", "SIGSEGV"), ("raises_on_bad", "ZeroDivisionError: by d")])
def test_a_decoder_that_crashes_is_an_error_of_its_file(decoder: str, reason: str, video: str, tmp_path: Path) -> None:
    jobs = [DecodeJob(path, UniformMidpoints(), 4) for path in (video, str(tmp_path / "bad.mp4"), video)]
    with DecodePool(deadline_s=60, decoder=f"slow_decoders:{decoder}") as pool:
        good, bad, again = pool.run(jobs)
    assert painted(good) == painted(again)
    assert isinstance(bad, DecodeError) and not isinstance(bad, DecodeTimeout) and reason in bad.reason


def test_a_child_killed_from_outside_is_replaced(video: str) -> None:
    job = DecodeJob(video, UniformMidpoints(), 4)
    with DecodePool(deadline_s=60, decoder="slow_decoders:process_id") as pool:
        first = serving_process(pool, job)
        os.kill(first, signal.SIGKILL)
        time.sleep(0.2)
        assert serving_process(pool, job) != first


def serving_process(pool: DecodePool, job: DecodeJob) -> int:
    (result,) = pool.run([job])
    assert isinstance(result, VideoFrames), result
    return int(result.decode_s)


def test_children_are_recycled_and_end_with_the_pool(video: str) -> None:
    job = DecodeJob(video, UniformMidpoints(), 4)
    pool = DecodePool(deadline_s=60, decoder="slow_decoders:process_id", recycle_after=2)
    served = [serving_process(pool, job) for _ in range(4)]
    assert served[0] == served[1] != served[2] == served[3]
    last = serving_process(pool, job)
    assert runs(last)
    pool.close()
    assert not any(runs(process) for process in [*served, last])
    assert serving_process(pool, job) not in served
    pool.close()


def runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_jobs_are_spread_over_the_processes(video: str) -> None:
    jobs = [DecodeJob(video, UniformMidpoints(), 4, row={"sleep": 0.05}) for _ in range(8)]
    with DecodePool(2, deadline_s=60, decoder="slow_decoders:process_id") as pool:
        results = pool.run(jobs)
    assert len({result.decode_s for result in results if isinstance(result, VideoFrames)}) == 2
    assert [painted(result) for result in results] == [painted(results[0])] * 8


@pytest.mark.parametrize(
    "wrong", ["type", "dtype", "count", "order", "range", "shape", "ragged", "info", "words", "nothing", *WRONG_TIMES]
)
def test_what_a_decoder_returns_is_checked(wrong: str, video: str) -> None:
    with DecodePool(deadline_s=60, decoder="slow_decoders:wrong") as pool:
        (result,) = pool.run([DecodeJob(video, UniformMidpoints(), 3, row={"wrong": wrong})])
    assert isinstance(result, DecodeError)
    assert "the decoder returned" in result.reason or wrong == "ragged"
    assert ("times_s" in result.reason) == (wrong in WRONG_TIMES)


def test_times_in_a_list_are_those_of_an_array(video: str) -> None:
    asked = [DecodeJob(video, UniformMidpoints(), 3), DecodeJob(video, indices=(9, 2, 2))]
    with DecodePool(deadline_s=60, decoder="slow_decoders:told_as_a_list") as pool:
        results = pool.run(asked)
    for result, expected in zip(results, ([0.0, 5.0, 7.0], [9.0, 2.0, 2.0]), strict=True):
        assert isinstance(result, VideoFrames) and isinstance(result.times_s, np.ndarray), result
        assert result.times_s.dtype == np.float64 and result.times_s.tolist() == expected


def test_faults_of_settings_are_raised_not_blamed_on_videos(pool: DecodePool, video: str) -> None:
    for sampler, word in [(FailingSampler(), "sampler by design"), (GreedySampler(), "chose the frames")]:
        with pytest.raises(ConfigError, match=word):
            pool.run([DecodeJob(video, sampler, 4)])
    with pytest.raises(LiteFrameError), DecodePool(decoder="no.such:thing") as other:
        other.run([DecodeJob(video, UniformMidpoints(), 4)])
    for settings in ({"processes": 0}, {"deadline_s": 0.0}, {"decoder": "ffmpeg"}, {"recycle_after": 0}):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            DecodePool(**settings)  # type: ignore[arg-type]


def test_a_pool_made_before_a_fork_works_after_it(video: str) -> None:
    job = DecodeJob(video, UniformMidpoints(), 4)
    with DecodePool(deadline_s=60, decoder="slow_decoders:process_id") as pool:
        own = serving_process(pool, job)
        if (child := os.fork()) == 0:
            status = 1
            try:
                status = int(serving_process(pool, job) == own)
                pool.close()
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert serving_process(pool, job) == own


def test_a_pool_can_be_sent_to_another_process(pool: DecodePool, video: str) -> None:
    with pickle.loads(pickle.dumps(pool)) as other:
        assert other.deadline_s == 60
        painted(other.run([DecodeJob(video, UniformMidpoints(), 4)])[0])


def test_children_die_with_a_parent_that_is_killed(video: str) -> None:
    code = (
        "import sys, time\n"
        "from liteframe.data.decoding.processes.pool import DecodeJob, DecodePool\n"
        "from liteframe.data.sampling import UniformMidpoints\n"
        "pool = DecodePool(deadline_s=60, decoder='slow_decoders:process_id')\n"
        f"(result,) = pool.run([DecodeJob({video!r}, UniformMidpoints(), 4)])\n"
        "print(int(result.decode_s), flush=True)\n"
        "time.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert runs(child)
        parent.kill()
    deadline = time.monotonic() + 20
    while runs(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not runs(child)


def test_works_from_a_thread_that_ends(video: str) -> None:
    """A child must outlive the thread that first asked for it."""
    from threading import Thread

    job = DecodeJob(video, UniformMidpoints(), 4)
    with DecodePool(deadline_s=60, decoder="slow_decoders:process_id") as pool:
        seen: list[int] = []
        thread = Thread(target=lambda: seen.append(serving_process(pool, job)))
        thread.start()
        thread.join()
        assert serving_process(pool, job) == seen[0]


@pytest.mark.parametrize("part", [{}, {"start_s": 0.2, "end_s": 0.8}])
@pytest.mark.parametrize("keys", ["abc", [[3, 2]], [10**9]])
def test_what_a_sampler_finds_wrong_with_a_row_is_that_rows(
    keys: Any, part: dict[str, float], pool: DecodePool, video: str
) -> None:
    jobs = [DecodeJob(video, KeyFrames(), 4, row={"key_frames": asked}, **part) for asked in (keys, None, [6])]
    bad, none, good = pool.run(jobs)
    assert isinstance(none, VideoFrames) and isinstance(good, VideoFrames) and 6 in good.indices
    if keys != [10**9] or not part:  # keys outside of the part are left out
        assert isinstance(bad, DecodeError) and "key_frames" in bad.reason


def test_an_end_is_no_reason_to_try_again(tmp_path: Path) -> None:
    """What ends the loop over results (Ctrl-C, SIGTERM, an error) ends the children, and starts no others."""
    bad, function = str(tmp_path / "bad.mp4"), "slow_decoders:notes_and_hangs_on_bad"
    with DecodePool(2, deadline_s=60) as pool:
        results = pool.call([(path, function, (path,), (path,)) for path in (bad, "good.mp4")])
        assert next(results) == (1, "good.mp4")
        while not Path(f"{bad}.calls").exists():
            time.sleep(0.01)
        with pytest.raises(KeyboardInterrupt):
            results.throw(KeyboardInterrupt())
        assert Path(f"{bad}.calls").read_text() == "x" and pool.children() == []
        assert sorted(pool.call([("good.mp4", function, ("good.mp4",))] * 2)) == [(0, "good.mp4"), (1, "good.mp4")]
