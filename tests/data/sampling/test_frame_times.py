"""Frames by time are those that a player shows, and those by index where the rate is constant."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from painted_videos import number_of, write_video

import liteframe
from liteframe.data.decoding.processes.job import DecodeJob, decode
from liteframe.data.sampling import FpsCapped, FrameSampler, Linspace, UniformMidpoints
from liteframe.data.sampling.frame_times import FrameTimes
from liteframe.data.sampling.index_rules import linspace
from liteframe.errors import ConfigError, DataError, DecodeError

SCREEN_MS = [*range(0, 1000, 20), *range(1000, 9000, 1000)]
"""A second at 50 frames a second, then 8 at 1."""


def chosen(sampler: FrameSampler, times: FrameTimes, count: int, fps: float | None = None) -> list[int]:
    return sampler.indices(len(times), count, fps, np.random.default_rng(0), {}, times=times).tolist()  # type: ignore[no-any-return]


def shown_at(starts: list[Fraction], moment: Fraction) -> int:
    """What a player shows: the last frame that has come by then."""
    return bisect_right(starts, moment) - 1


def at_moments(starts: list[Fraction], moments: list[Fraction]) -> list[int]:
    return sorted({shown_at(starts, moment) for moment in moments})


def evenly(starts: list[Fraction], begin: Fraction, count: int) -> list[int]:
    if count >= len(starts):
        return list(range(len(starts)))
    span = starts[-1] - begin
    return at_moments(starts, [begin + span * Fraction(k, max(1, count - 1)) for k in range(count)])


def at_rate(starts: list[Fraction], begin: Fraction, end: Fraction, fps: int) -> list[int]:
    moments, moment = [begin], begin + Fraction(1, fps)
    while moment < end:
        moments.append(moment)
        moment += Fraction(1, fps)
    return at_moments(starts, moments)


def random_starts(rng: np.random.Generator) -> list[Fraction]:
    """Of 1 to 60 frames, in bursts and pauses."""
    steps = rng.choice([1, 1, 2, 5, 40], rng.integers(0, 40)) * int(rng.choice([17, 40]))
    return [Fraction(0), *(Fraction(int(at), 1000) for at in np.cumsum(steps))]


def videos() -> Iterator[tuple[list[Fraction], Fraction, np.random.Generator]]:
    """Starts and end of 40 videos of varying rates."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        starts = random_starts(rng)
        yield starts, starts[-1] + Fraction(int(rng.integers(1, 3000)), 1000), rng


def times_of(starts: list[Fraction], end: Fraction) -> FrameTimes:
    return FrameTimes.of_video(np.array([float(start) for start in starts]), float(end), 1000.0)


def test_frames_by_time_are_those_that_a_player_shows() -> None:
    for starts, end, rng in videos():
        times = times_of(starts, end)
        for fps in (1, 2, 7, 25):
            assert chosen(FpsCapped(fps), times, 10**6) == at_rate(starts, Fraction(0), end, fps)
        for count in (1, 2, 3, 8, 30, int(rng.integers(1, 70))):
            assert chosen(Linspace("time"), times, count) == evenly(starts, Fraction(0), count)
            every = at_rate(starts, Fraction(0), end, 5)
            capped = every if len(every) <= count else evenly(starts, Fraction(0), count)
            assert chosen(FpsCapped(5), times, count) == capped


def test_a_part_begins_with_what_is_on_screen_and_counts_time_from_its_start() -> None:
    for starts, end, rng in videos():
        begin, until = sorted(Fraction(int(at), 1000) for at in rng.choice(int(end * 1000), 2, replace=False))
        times = times_of(starts, end)
        low, high = times.between(times.starts_T, float(begin), float(until))
        first = shown_at(starts, begin)
        assert list(range(low, high)) == [i for i, at in enumerate(starts) if i == first or begin < at < until]
        part = times.part(low, high, float(begin), float(until))
        assert [low + i for i in chosen(FpsCapped(4), part, 10**6)] == at_rate(starts, begin, until, 4)
        own = starts[low:high]
        assert chosen(Linspace("time"), part, 5) == evenly(own, max(begin, own[0]), 5)


@pytest.mark.parametrize("video_fps", [1, 8, 24, 30000 / 1001, 25, 30, 60])
@pytest.mark.parametrize("rounded_to", [None, 1000])
@pytest.mark.parametrize("wrong", [0.5, 0.99999, 1.0, 2.0])
def test_at_a_constant_rate_time_and_index_agree(video_fps: float, rounded_to: int | None, wrong: float) -> None:
    told = wrong * video_fps
    # the true rate is beyond knowing where few frames have rounded times
    for total in (64, 159, 300) if rounded_to and not 0.9 < wrong < 1.1 else (1, 2, 3, 7, 8, 64, 159, 300):
        starts_T = np.arange(total) / video_fps
        end = total / video_fps
        if rounded_to:
            starts_T, end = np.round(starts_T * rounded_to) / rounded_to, np.ceil(end * rounded_to) / rounded_to
        times = FrameTimes.of_video(starts_T, end, told)
        for count in (1, 2, 3, 4, 8, 31, 64, 128):
            assert chosen(Linspace("time"), times, count) == linspace(total, count).tolist()
            for every in (1, 2, 3, 8):
                rate = video_fps / every
                assert chosen(FpsCapped(rate), times, count) == chosen(
                    FpsCapped(rate, "index"), times, count, video_fps
                )


def test_a_whole_video_begins_with_its_first_frame_however_short_that_is() -> None:
    times = FrameTimes(np.array([0.0, 1e-6, 2e-6]), 0.0, 3e-6)
    assert times.between(times.starts_T, None, None) == (0, 3) == times.between(times.starts_T, 0.0, None)


def test_frames_without_times_are_at_a_constant_rate() -> None:
    def told(sampler: FrameSampler, fps: float | None) -> list[int]:
        return sampler.indices(50, 20, fps, np.random.default_rng(0), {}).tolist()  # type: ignore[no-any-return]

    assert told(FpsCapped(5), 25.0) == list(range(0, 50, 5))
    assert told(Linspace("time"), 25.0) == told(Linspace(), None)
    with pytest.raises(DataError, match="FpsCapped: the frame rate of the video is unknown"):
        told(FpsCapped(5), None)


@pytest.mark.parametrize("fps", [1e-9, 1e9, 1e300])
def test_odd_rates_end(fps: float) -> None:
    times = FrameTimes.constant(1000, 25.0)
    assert chosen(FpsCapped(fps), times, 10**15) == (list(range(1000)) if fps > 1 else [0])
    assert chosen(Linspace("time"), times, 10**15) == list(range(1000))


def screen(folder: Path, suffix: str) -> str:
    return str(write_video(folder / f"screen{suffix}", len(SCREEN_MS), times=SCREEN_MS, keys=range(0, 58, 8)))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_frame_a_second_is_one_of_each_second_of_a_screen_recording(suffix: str, tmp_path: Path) -> None:
    path = screen(tmp_path, suffix)
    video = decode(DecodeJob(path, FpsCapped(1)), "auto")
    assert [number_of(frame) for frame in video.frames_THWC] == [0, *range(50, 58)]
    assert video.times_s is not None and video.times_s.tolist() == list(range(9))
    assert video.info.duration == pytest.approx(9), "the last picture stays as long as those before it"
    even = decode(DecodeJob(path, Linspace("time"), 5), "auto")
    assert [number_of(frame) for frame in even.frames_THWC] == [0, 51, 53, 55, 57]
    assert (decode(DecodeJob(path, UniformMidpoints(), 20), "auto").indices < 50).sum() == 18, "by index"


def test_read_video_spreads_frames_in_time(tmp_path: Path) -> None:
    path = screen(tmp_path, ".mp4")
    assert liteframe.read_video(path, 5).indices.tolist() == [0, 51, 53, 55, 57]
    assert liteframe.read_video(path, None, fps=2, start=0.51).indices.tolist() == [25, *range(50, 58)]
    for frames in (None, 58, 64):
        assert liteframe.read_video(path, frames).indices.tolist() == list(range(58))


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Ten pictures, one a second."""
    path = tmp_path_factory.mktemp("slow") / "slow.mkv"
    return str(write_video(path, 10, times=list(range(0, 10_000, 1000))))


@pytest.mark.parametrize(
    ("start", "end", "numbers"),
    [
        (3.2, 3.9, [3]),
        (3.0, 4.0, [3]),
        (3.0, 3.0 + 5e-7, [3]),
        (3.0, 4.1, [3, 4]),
        (3.2, 6.0, [3, 4, 5]),
        (None, 0.5, [0]),
        (None, 2.0, [0, 1]),
        (7.5, None, [7, 8, 9]),
        (9.9, None, [9]),
        (9.9, 1e9, [9]),
        (0.0, None, list(range(10))),
    ],
)
def test_start_is_what_is_on_screen_and_end_is_what_has_come(
    slow: str, start: float | None, end: float | None, numbers: list[int]
) -> None:
    video = decode(DecodeJob(slow, UniformMidpoints(), start_s=start, end_s=end), "auto")
    assert [number_of(frame) for frame in video.frames_THWC] == numbers


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_time_of_a_frame_is_a_start_and_an_end(suffix: str, tmp_path: Path) -> None:
    path = str(write_video(tmp_path / f"a{suffix}", 40, times=[round(i * 1000 / 30) for i in range(40)]))
    whole = decode(DecodeJob(path, UniformMidpoints()), "auto")
    assert whole.times_s is not None
    for index, told in enumerate(whole.times_s.tolist()):
        for moment in (told, index / 30):
            job = DecodeJob(path, FpsCapped(15), start_s=moment)
            assert decode(job, "auto").indices.tolist() == list(range(index, 40, 2))
            if index:
                assert decode(DecodeJob(path, UniformMidpoints(), end_s=moment), "auto").indices[-1] == index - 1


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [(10.0, None, "from 10 s on"), (12.5, 13.0, "from 12.5 s to 13 s")],
)
def test_a_span_outside_of_the_video_is_named_with_its_length(
    slow: str, start: float, end: float | None, words: str
) -> None:
    with pytest.raises(DecodeError, match=rf"slow\.mkv: has no frame {words}: it is 10\.00 s long"):
        decode(DecodeJob(slow, UniformMidpoints(), start_s=start, end_s=end), "auto")


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        ({"start": -1}, "start is -1 s; give seconds"),
        ({"end": float("nan")}, "end is nan s; give seconds"),
        ({"start": 4, "end": 3}, "end is 3 s and start 4 s"),
        ({"end": 0}, "end is 0 s and start 0 s"),
        ({"fps": 0}, "fps is 0; give a rate above 0"),
    ],
)
def test_a_span_of_no_video_is_a_fault_of_the_call(slow: str, ask: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        liteframe.read_video(slow, **ask)


class OldSampler(FrameSampler):
    """As users wrote them before samplers were told times."""

    def indices(self, total: int, count: int, fps: float | None, rng: np.random.Generator, row: dict) -> np.ndarray:  # type: ignore[override, type-arg]
        return np.array([total - 1])


class OldByTime(FpsCapped):
    def indices(self, total: int, count: int, fps: float | None, rng: np.random.Generator, row: dict) -> np.ndarray:  # type: ignore[override, type-arg]
        return super().indices(total, count, fps, rng, row)


class LastByTime(FrameSampler):
    """Takes the times, and what is shown half a second before the end."""

    def indices(self, total: int, count: int, fps: float | None, rng: Any, row: Any, times: Any = None) -> np.ndarray:
        return np.searchsorted(times.starts_T, [times.end - 0.5], side="right") - 1


def test_a_sampler_of_a_user_may_take_times_and_need_not(slow: str) -> None:
    assert decode(DecodeJob(slow, OldSampler(), 4), "auto").indices.tolist() == [9]
    assert decode(DecodeJob(slow, OldSampler(), 4, end_s=5), "auto").indices.tolist() == [4]
    assert decode(DecodeJob(slow, LastByTime(), 4, end_s=5.2), "auto").indices.tolist() == [4]
    assert decode(DecodeJob(slow, OldByTime(25, "index"), 4), "auto").indices.tolist() == [0, 3, 6, 9]
    with pytest.raises(ConfigError, match="chooses by time, but its `indices` has no argument `times`"):
        decode(DecodeJob(slow, OldByTime(1), 4), "auto")
