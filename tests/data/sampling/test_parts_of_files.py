"""A part that a list tells has to be in its file, within what lists round."""

from __future__ import annotations

from pathlib import Path

import pytest
from painted_videos import write_video

from liteframe.data.decoding.processes.job import DecodeJob, decode
from liteframe.data.sampling import UniformMidpoints
from liteframe.data.sampling.frame_times import outside_of
from liteframe.errors import DecodeError


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Ten pictures, one a second."""
    path = tmp_path_factory.mktemp("slow") / "slow.mkv"
    return str(write_video(path, 10, times=list(range(0, 10_000, 1000))))


@pytest.mark.parametrize("end", [10.0, 10.9, 12.0])
def test_an_end_of_a_list_may_be_a_little_behind_that_of_the_file(slow: str, end: float) -> None:
    job = DecodeJob(slow, UniformMidpoints(), start_s=7.5, end_s=end, row={"end": end})
    assert decode(job, "auto").indices.tolist() == [7, 8, 9]


@pytest.mark.parametrize(("start", "end"), [(3.0, 12.1), (None, 30_000.0), (0.0, 450.0)])
def test_an_end_of_a_list_far_behind_that_of_the_file_is_none(slow: str, start: float | None, end: float) -> None:
    """The file is that part already, or the list counts milliseconds or frames."""
    job = DecodeJob(slow, UniformMidpoints(), start_s=start, end_s=end, row={"start": start, "end": end})
    with pytest.raises(DecodeError, match=rf"slow\.mkv: is 10\.00 s long, and its part ends at {end:g} s;"):
        decode(job, "auto")


@pytest.mark.parametrize(
    ("part", "duration", "frames", "is_inside"),
    [
        ((3.0, 12.0), 9.0, 270, False),
        ((3.0, 10.0), 9.0, 270, True),
        ((None, 10.1), 9.0, 270, False),
        ((0.0, 3671.0), 3600.0, 90_000, True),
        ((0.0, 3673.0), 3600.0, 90_000, False),
        ((0.0, 80.0), 60.0, 6, True),
        ((0.0, 5.0), 0.04, 1, True),
        ((3.0, None), 9.0, 270, True),
        ((9.0, None), 9.0, 270, False),
        ((None, None), 0.0, 0, True),
    ],
)
def test_a_part_is_in_a_file_up_to_what_lists_round(
    part: tuple[float | None, float | None], duration: float, frames: int, is_inside: bool
) -> None:
    assert (outside_of(*part, duration, frames) == "") == is_inside


def test_whichever_fields_tell_a_part_are_to_be_dropped() -> None:
    assert "drop the fields that tell it (start and end, clip, ...)" in outside_of(3.0, 12.0, 9.0, 270)


def test_of_a_file_that_is_cut_short_what_is_there_is_used(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", 400)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    job = DecodeJob(str(path), UniformMidpoints(), 4, end_s=40.0, row={"end": 40.0}, truncated="use")
    assert 0 < decode(job, "auto").indices[-1] < 300
