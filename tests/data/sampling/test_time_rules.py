"""Samplers with chance that choose by time, against moments and frames in exact fractions."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from painted_videos import number_of, write_video

from liteframe.data.decoding.processes.job import DecodeJob, decode
from liteframe.data.sampling import FrameSampler, JitteredUniform, LogUniformSpacing
from liteframe.data.sampling.frame_times import FrameTimes
from liteframe.errors import DataError

SLOW_MS = [*range(0, 1000, 20), *range(1000, 9000, 1000)]
"""A second at 50 frames a second, then 8 at 1."""


def chosen(sampler: FrameSampler, times: FrameTimes, count: int, seed: int) -> list[int]:
    rng = np.random.default_rng(seed)
    return sampler.indices(len(times), count, None, rng, {}, times=times).tolist()  # type: ignore[no-any-return]


def videos() -> Iterator[tuple[FrameTimes, int]]:
    """Whole videos and parts of them at varying and constant rates, and a seed for each."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        frames, unit = int(rng.integers(1, 70)), int(rng.choice([17, 40, 500]))
        steps = rng.choice([1, 1, 2, 5, 40], frames) * unit if seed % 2 else np.full(frames, unit)
        starts_T = np.cumsum([0, *steps]) / 1000
        whole = FrameTimes.of_video(starts_T, float(starts_T[-1] + 0.7 * unit / 1000), 1000 / unit)
        yield whole, seed
        begin, end = sorted(rng.uniform(0, whole.end, 2))
        yield whole.part(*whole.between(whole.starts_T, begin, end), begin, end), seed


def shown_at(times: FrameTimes, moment: Fraction) -> int:
    return bisect_right([Fraction(start) for start in times.starts_T.tolist()], moment) - 1


def spaced(times: FrameTimes, count: int, smallest: float, largest: float | None, seed: int) -> list[int]:
    """Moment by moment; the spacing alone is of floats, as it is drawn."""
    if len(times) <= count:
        return list(range(len(times)))
    rng = np.random.default_rng(seed)
    seconds = times.end - times.begin
    low = min(max(smallest, seconds / len(times)), seconds / count)
    high = seconds / count if largest is None else max(min(largest, seconds / count), low)
    spacing = Fraction(float(np.exp(np.log(low) + rng.random() * (np.log(high) - np.log(low)))))
    room = Fraction(seconds) - (count - 1) * spacing
    moment, frames = Fraction(times.begin) + room * Fraction(rng.random()), set()
    for _ in range(count):
        assert times.begin <= moment < times.end
        frames.add(shown_at(times, moment))
        moment += spacing
    return sorted(frames)


def one_in_each(times: FrameTimes, count: int, seed: int) -> list[int]:
    if len(times) <= count:
        return list(range(len(times)))
    begin, end = Fraction(times.begin), Fraction(times.end)
    goes = [*map(Fraction, times.starts_T[1:].tolist()), end]
    frames: list[int] = []
    for part, share in enumerate(np.random.default_rng(seed).random(count).tolist()):
        low, high = (begin + (end - begin) * Fraction(edge, count) for edge in (part, part + 1))
        while low < high and shown_at(times, low) in frames:
            low = min(goes[shown_at(times, low)], high)
        if low < high:
            frames.append(shown_at(times, low + Fraction(share) * (high - low)))
    return frames


@pytest.mark.parametrize("limits", [(0.05, None), (0.001, None), (0.2, 0.4), (30.0, None), (0.001, 0.002)])
def test_frames_at_a_random_spacing_are_those_on_screen(limits: tuple[float, float | None]) -> None:
    for times, seed in videos():
        for count in (1, 2, 3, 8, 16, 64):
            assert chosen(LogUniformSpacing(*limits), times, count, seed) == spaced(times, count, *limits, seed)


def test_jittered_frames_are_one_of_each_part() -> None:
    for times, seed in videos():
        for count in (1, 2, 3, 8, 16, 64):
            assert chosen(JitteredUniform(), times, count, seed) == one_in_each(times, count, seed)


@pytest.mark.parametrize("sampler", [LogUniformSpacing(), LogUniformSpacing(0.001), JitteredUniform()], ids=repr)
def test_at_a_constant_rate_there_are_as_many_frames_as_asked_for(sampler: FrameSampler) -> None:
    for total in (1, 5, 16, 17, 31, 200):
        for count in (1, 2, 5, 16):
            for seed in range(20):
                frames = chosen(sampler, FrameTimes.constant(total, 29.97), count, seed)
                assert len(frames) == min(count, total) and (np.diff(frames) > 0).all()


def test_each_doubling_of_the_spacing_is_as_frequent() -> None:
    hour = FrameTimes.constant(3600 * 30, 30.0)
    spacing_N = np.array([np.diff(chosen(LogUniformSpacing(0.1), hour, 16, seed))[0] / 30 for seed in range(3000)])
    assert spacing_N.min() >= 0.09 and 180 < spacing_N.max() <= 3600 / 16 + 1 / 30
    doublings = np.log2(spacing_N / 0.1) / np.log2(3600 / 16 / 0.1)
    shares, _ = np.histogram(doublings, bins=5, range=(0, 1))
    assert (abs(shares / len(doublings) - 0.2) < 0.04).all(), "frames, not fractions of them, blur the smallest"
    capped = [np.diff(chosen(LogUniformSpacing(0.1, 7.0), hour, 16, seed)).max() / 30 for seed in range(300)]
    assert 6 < max(capped) <= 7 + 1 / 30


def test_every_moment_of_the_video_is_drawn_from() -> None:
    times = FrameTimes.constant(40, 10.0)
    for sampler in (LogUniformSpacing(), JitteredUniform()):
        drawn = {frame for seed in range(400) for frame in chosen(sampler, times, 4, seed)}
        assert drawn == set(range(40))
    parts = np.array([chosen(JitteredUniform(), times, 4, seed) for seed in range(50)]) // 10
    assert (parts == np.arange(4)).all()


def test_by_time_a_pause_is_as_long_as_it_lasts() -> None:
    times = FrameTimes.of_video(np.array(SLOW_MS) / 1000, 9.0, 58 / 9)
    for seed in range(30):
        jittered = chosen(JitteredUniform(), times, 9, seed)
        assert [frame for frame in jittered if frame >= 50] == list(range(50, 58)), "one of each second"
        frames = chosen(LogUniformSpacing(0.9), times, 9, seed)
        assert len(frames) >= 8, "at the uniform spacing of a second"


@pytest.mark.parametrize("sampler", [LogUniformSpacing(), JitteredUniform()], ids=repr)
def test_without_times_frames_are_at_the_mean_rate(sampler: FrameSampler) -> None:
    row: dict[str, Any] = {}
    told = sampler.indices(90, 8, 30.0, np.random.default_rng(1), row)
    assert told.tolist() == chosen(sampler, FrameTimes.constant(90, 30.0), 8, 1)
    with pytest.raises(DataError, match="rate of the video is unknown"):
        sampler.indices(90, 8, None, np.random.default_rng(1), row)


@pytest.mark.parametrize("sampler", [LogUniformSpacing(0.2), JitteredUniform()], ids=repr)
def test_a_part_of_a_file_is_kept_to(sampler: FrameSampler, tmp_path: Path) -> None:
    path = str(write_video(tmp_path / "screen.mkv", len(SLOW_MS), times=SLOW_MS, keys=range(0, 58, 8)))
    for seed in range(5):
        video = decode(DecodeJob(path, sampler, 4, seed=seed, start_s=0.51, end_s=4.0), "auto")
        numbers = [number_of(frame) for frame in video.frames_THWC]
        assert numbers == video.indices.tolist() and numbers[0] >= 25 and numbers[-1] <= 52
        whole = FrameTimes.of_video(np.array(SLOW_MS) / 1000, 9.0, 58 / 9)
        part = whole.part(25, 53, 0.51, 4.0)
        assert numbers == [25 + frame for frame in chosen(sampler, part, 4, seed)]
