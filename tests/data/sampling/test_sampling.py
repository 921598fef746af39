from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from liteframe.data.sampling import (
    FpsCapped,
    FrameSampler,
    InnerPoints,
    JitteredUniform,
    KeyFrames,
    Linspace,
    LogUniformSpacing,
    RandomSegment,
    SegmentStarts,
    UniformMidpoints,
    sampler_from,
)
from liteframe.data.sampling.index_rules import (
    fps_capped,
    inner_points,
    linspace,
    random_segment,
    segment_starts,
    uniform_midpoints,
)
from liteframe.data.sampling.key_frames import shift_keys
from liteframe.errors import DataError

SAMPLERS: list[FrameSampler] = [
    UniformMidpoints(),
    InnerPoints(),
    SegmentStarts(),
    Linspace(),
    Linspace("time"),
    FpsCapped(2.0),
    FpsCapped(2.0, "index"),
    RandomSegment(),
    RandomSegment([3]),
    LogUniformSpacing(),
    LogUniformSpacing(0.3, 0.5),
    JitteredUniform(),
    KeyFrames(),
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_indices_are_distinct_frames_that_exist(sampler: FrameSampler) -> None:
    for total in range(1, 41):
        for count in (1, 2, 3, 4, 7, 8, 16, 39, 40, 64):
            row: dict[str, Any] = {"key_frames": [0, total - 1, total // 2]}
            rng = np.random.default_rng(total)
            indices = sampler.indices(total, count, 5.0, rng, row)
            assert indices.dtype == np.int64 and 1 <= len(indices) <= min(count, total)
            assert indices[0] >= 0 and indices[-1] < total and (np.diff(indices) > 0).all()
            if not isinstance(sampler, FpsCapped | SegmentStarts):
                assert len(indices) == min(count, total)


@pytest.mark.parametrize("total", [9, 100, 159, 3000, 9001])
@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_uniform_midpoints_are_internvls(total: int, count: int) -> None:
    segment = float(total - 1) / count
    card = [int(0 + (segment / 2) + np.round(segment * index)) for index in range(count)]
    assert uniform_midpoints(total, count).tolist() == card


@pytest.mark.parametrize("total", [9, 100, 159, 3000, 9001])
@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_inner_points_are_vlmevalkits(total: int, count: int) -> None:
    step = total / (count + 1)
    assert inner_points(total, count).tolist() == [int(point * step) for point in range(1, count + 1)]


@pytest.mark.parametrize("seconds", [3.2, 15.9, 16.0, 17.5, 600.04])
@pytest.mark.parametrize("fps", [8.0, 25.0, 29.97])
@pytest.mark.parametrize("count", [1, 8, 16])
def test_segment_starts_are_longvideobenchs(seconds: float, fps: float, count: int) -> None:
    total = round(seconds * fps)
    segments = min(count, int(total / fps))
    assert segment_starts(total, count, fps).tolist() == [int(total / segments) * place for place in range(segments)]


def test_linspace_is_numpys() -> None:
    for total in (2, 5, 64, 159, 1000):
        for count in (1, 2, 3, 5, 8, 31):
            if count < total:
                exact = [index * (total - 1) / max(count - 1, 1) for index in range(count)]
                assert linspace(total, count).tolist() == [int(value + 1e-9) for value in exact]
                assert np.abs(linspace(total, count) - np.linspace(0, total - 1, count).astype(int)).max() <= 1


def test_fps_capped() -> None:
    assert fps_capped(100, 64, 30.0, 1.0).tolist() == [0, 30, 60, 90]
    assert fps_capped(100, 3, 30.0, 1.0).tolist() == [0, 49, 99]
    assert fps_capped(4, 64, 1.0, 5.0).tolist() == [0, 1, 2, 3]
    with pytest.raises(DataError, match="frame rate"):
        FpsCapped(1.0).indices(10, 4, None, np.random.default_rng(0), {})


def test_random_segment_reaches_every_start_of_every_stride_that_fits() -> None:
    rng = np.random.default_rng(0)
    drawn = {tuple(random_segment(10, 3, [1, 4, 8], rng).tolist()) for _ in range(2000)}
    possible = {(start, start + stride, start + 2 * stride) for stride in (1, 4) for start in range(10 - 2 * stride)}
    assert drawn == possible
    assert set(np.diff(random_segment(10, 4, [5, 8], rng)).tolist()) == {3}


def test_key_frames_are_kept_and_filled_up() -> None:
    rng = np.random.default_rng(1)
    indices = KeyFrames().indices(50, 8, None, rng, {"key_frames": [40, 3, 3, 20]})
    assert {3, 20, 40} <= set(indices.tolist()) and len(indices) == 8
    assert set(KeyFrames().indices(50, 2, None, rng, {"key_frames": [40, 3, 20]}).tolist()) < {3, 20, 40}
    assert len(KeyFrames().indices(50, 4, None, rng, {})) == 4
    with pytest.raises(DataError, match="outside"):
        KeyFrames().indices(10, 2, None, rng, {"key_frames": [10]})


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_samplers_travel_and_repeat(sampler: FrameSampler) -> None:
    twin = pickle.loads(pickle.dumps(sampler))
    assert twin == sampler and twin.describe() == sampler.describe()
    first = sampler.indices(90, 8, 5.0, np.random.default_rng(7), {})
    assert np.array_equal(first, twin.indices(90, 8, 5.0, np.random.default_rng(7), {}))
    others = [sampler.indices(90, 8, 5.0, np.random.default_rng(seed), {}).tolist() for seed in range(20)]
    assert sampler.random == any(other != first.tolist() for other in others)


def test_describe_names_the_settings() -> None:
    assert RandomSegment([1, 2]).describe() == {"name": "RandomSegment", "strides": [1, 2]}
    assert UniformMidpoints().describe() == {"name": "UniformMidpoints"}
    assert FpsCapped(2.0).describe() == {"name": "FpsCapped", "fps": 2.0, "by": "time"}
    assert Linspace("time").describe() == {"name": "Linspace", "by": "time"}
    assert LogUniformSpacing(0.1).describe() == {"name": "LogUniformSpacing", "min_s": 0.1, "max_s": None}
    assert JitteredUniform().describe() == {"name": "JitteredUniform"}


def test_what_was_described_before_there_were_rules_by_time_is_by_index() -> None:
    for before, now in (
        ({"name": "FpsCapped", "fps": 2.0}, FpsCapped(2.0, "index")),
        ({"name": "Linspace"}, Linspace("index")),
        ({"name": "UniformMidpoints"}, UniformMidpoints()),
    ):
        assert sampler_from(before, "a.json") == now and now.describe() == before
    assert repr(FpsCapped(2.0, "index")) == "FpsCapped(fps=2.0)", "as checkpoints have it"
    assert repr(FpsCapped(2.0)) == "FpsCapped(fps=2.0, by='time')" and repr(Linspace()) == "Linspace()"


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_samplers_are_what_they_say_they_are(sampler: FrameSampler) -> None:
    assert sampler_from(sampler.describe(), "a.json") == sampler


def test_bad_settings_are_refused() -> None:
    with pytest.raises(DataError, match="strides"):
        RandomSegment([])
    with pytest.raises(DataError, match="fps"):
        FpsCapped(0)
    for smallest in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(DataError, match="LogUniformSpacing.min_s is .*; give seconds above 0"):
            LogUniformSpacing(smallest)
    for largest in (0.0, 0.1, float("nan"), float("inf")):
        with pytest.raises(DataError, match="LogUniformSpacing.max_s is .*, min_s 0.2"):
            LogUniformSpacing(0.2, largest)
    for make in (lambda: FpsCapped(2.0, "frames"), lambda: Linspace("Time")):  # type: ignore[arg-type]
        with pytest.raises(DataError, match="by is .*; give 'time' or 'index'"):
            make()
    with pytest.raises(DataError, match="no such settings"):
        sampler_from({"name": "Linspace", "by": "frames"}, "a.json")
    with pytest.raises(DataError, match="at least 1"):
        UniformMidpoints().indices(0, 4, None, np.random.default_rng(0), {})


def test_import_is_torch_free() -> None:
    code = "import sys, liteframe.data.sampling, liteframe.data.sources.manifest; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("keys", ["abc", 3, [1.5], ["1"], [[1]], [[3, 2]], [[1, 2, 3]], [True], [-1], [None], {"a": 1}])
def test_keys_that_are_no_frames_are_named_by_all_who_read_them(keys: Any) -> None:
    rng = np.random.default_rng(0)
    for read in (
        lambda: KeyFrames().indices(10, 4, 10.0, rng, {"key_frames": keys}),
        lambda: KeyFrames().check_row({"key_frames": keys}),
        lambda: shift_keys(keys, 2, 8),
    ):
        with pytest.raises(DataError, match="key_frames: frame numbers"):
            read()


@pytest.mark.parametrize("row", [{}, {"key_frames": None}, {"key_frames": []}])
def test_no_keys_are_none(row: dict[str, Any]) -> None:
    KeyFrames().check_row(row)
    assert len(KeyFrames().indices(10, 4, 10.0, np.random.default_rng(0), row)) == 4
