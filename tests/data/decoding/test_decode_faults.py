"""Whatever goes wrong with one job is that job's error; what goes wrong by chance is tried again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from painted_videos import number_of, write_video

from liteframe.data.decoding import decord_reader
from liteframe.data.decoding.processes import child as decode_child
from liteframe.data.decoding.processes.pool import DecodeJob, DecodePool, VideoFrames
from liteframe.data.sampling import KeyFrames, UniformMidpoints
from liteframe.errors import DecodeError, DecodeTimeout, LiteFrameError
from slow_decoders import (
    CrashingDecord,
    CrashingPyav,
    EvenSampler,
    HangingDecord,
    HangingPyav,
    PickySampler,
)

needs_decord = pytest.mark.skipif(not decord_reader.available(), reason="decord is not installed")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_video(tmp_path_factory.mktemp("videos") / "good.mp4", 60, options={"g": "12"}))


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool(deadline_s=60) as pool:
        yield pool


def is_right(result: VideoFrames | DecodeError) -> bool:
    assert isinstance(result, VideoFrames), result
    return [number_of(frame) for frame in result.frames_THWC] == result.indices.tolist()


@pytest.mark.parametrize(
    "choice",
    ["slow_decoders:leaves_a_mark", "shutil:rmtree", "os:remove", "nonsense", ["pyav"], {"a": 1}, 0, True, "x" * 9999],
)
def test_a_row_names_no_code(pool: DecodePool, video: str, tmp_path: Path, choice: Any) -> None:
    victim = write_video(tmp_path / "victim.mp4", 4)
    good, bad = pool.run(
        [
            DecodeJob(path, UniformMidpoints(), 2, row=row)
            for path, row in ((video, {}), (str(victim), {"decoder": choice}))
        ]
    )
    assert is_right(good) and isinstance(bad, DecodeError)
    assert "field 'decoder'" in bad.reason and "auto, decord, pyav" in bad.reason and len(bad.reason) < 400
    assert victim.exists() and not victim.with_suffix(".called").exists()


@pytest.mark.parametrize("choice", [None, "", "auto", "pyav", "decord"])
def test_a_row_may_choose_among_the_decoders_or_not_at_all(pool: DecodePool, video: str, choice: str | None) -> None:
    (result,) = pool.run([DecodeJob(video, UniformMidpoints(), 2, row={"decoder": choice})])
    assert is_right(result) and isinstance(result, VideoFrames) and result.info.decoder == "pyav"


def test_the_setting_still_names_a_decoder_of_the_users_own(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 4)
    with DecodePool(deadline_s=60, decoder="slow_decoders:leaves_a_mark") as pool:
        assert is_right(pool.run([DecodeJob(str(path), UniformMidpoints(), 2, row={"decoder": "os:remove"})])[0])
    assert path.with_suffix(".called").exists()


def nested(depth: int) -> list[Any]:
    row: list[Any] = []
    for _ in range(depth):
        row = [row]
    return row


BAD_ROWS: dict[str, dict[str, Any]] = {
    **{
        f"keys{number}": {"key_frames": wrong}
        for number, wrong in enumerate(("abc", 5, [[1, 2, 3, 4], "x"], [[5, 5]], [[9, 2]], [-1], [10**30], {}))
    },
    "surrogate": {"text": "\udcff"},
    "deep": {"deep": nested(100_000)},
    "no pickle": {"odd": lambda: None},
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_is_its_own_error_and_stops_nothing(pool: DecodePool, video: str, name: str) -> None:
    rows: list[dict[str, Any]] = [{}, BAD_ROWS[name], {}]
    before, result, after = pool.run([DecodeJob(video, KeyFrames(), 4, row=row) for row in rows])
    assert is_right(before) and is_right(after)
    assert isinstance(result, DecodeError) or is_right(result)
    (result,) = pool.run([DecodeJob(video, KeyFrames(), 4, row=rows[1], start_s=0.4, end_s=0.8)])
    assert isinstance(result, DecodeError) or is_right(result)


def test_a_path_that_is_no_text_is_its_own_error(pool: DecodePool, video: str) -> None:
    odd = ["/\udcff.mp4", "a\0b.mp4", "x" * 100_000, "", "/dev/null", "/", "/proc/self/mem"]
    results = pool.run([DecodeJob(path, UniformMidpoints(), 2) for path in [*odd, video]])
    assert all(isinstance(result, DecodeError) for result in results[:-1]) and is_right(results[-1])


def test_a_sampler_that_fails_on_some_videos_is_an_error_of_those(pool: DecodePool, video: str, tmp_path: Path) -> None:
    odd = str(write_video(tmp_path / "odd.mp4", 7))
    good, bad, lacking = pool.run(
        [DecodeJob(video, EvenSampler(), 4), DecodeJob(odd, EvenSampler(), 4), DecodeJob(video, PickySampler(), 4)]
    )
    assert is_right(good) and isinstance(bad, DecodeError) and "EvenSampler" in bad.reason and "odd video" in bad.reason
    assert isinstance(lacking, DecodeError) and "'extra'" in lacking.reason and "row" in lacking.reason


@pytest.mark.parametrize(
    "what",
    [
        *("exit", "interrupt", "base", "memory", "recursion", "overflow", "unicode", "unprintable", "unsendable"),
        *("data", "local", "exploding"),
    ],
)
def test_anything_raised_for_a_job_is_that_jobs_error(what: str, video: str) -> None:
    rows: list[dict[str, Any]] = [{}, {"raise": what}, {}]
    with DecodePool(deadline_s=60, decoder="slow_decoders:raises_as_asked") as pool:
        before, bad, after = pool.run([DecodeJob(video, UniformMidpoints(), 2, row=row) for row in rows])
    assert is_right(before) and is_right(after)
    assert isinstance(bad, DecodeError) and bad.path == video and bad.reason and "\n" not in bad.reason


def test_a_job_whose_process_is_killed_by_chance_is_tried_again(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 8)
    with DecodePool(deadline_s=60, decoder="slow_decoders:dies_once") as pool:
        (result,) = pool.run([DecodeJob(str(path), UniformMidpoints(), 4)])
    assert is_right(result) and path.with_suffix(".died").exists()


@needs_decord
@pytest.mark.parametrize("sampler", [CrashingPyav(), HangingPyav()], ids=["crash", "hang"])
def test_the_next_decoder_is_tried_where_it_is_known_to_be_right(
    video: str, tmp_path: Path, sampler: CrashingPyav
) -> None:
    unproven = str(write_video(tmp_path / "a.avi", 8))
    with DecodePool(deadline_s=8.0) as pool:
        good, bad = pool.run([DecodeJob(video, sampler, 4), DecodeJob(unproven, sampler, 4)])
    assert is_right(good) and good.info.decoder == "decord"
    assert isinstance(bad, DecodeError) and ("SIGSEGV" in bad.reason or "no answer within" in bad.reason)


@needs_decord
def test_a_decoder_that_was_asked_for_is_not_replaced(video: str) -> None:
    with DecodePool(deadline_s=2.0, decoder="decord") as pool:
        crashed, hung = pool.run([DecodeJob(video, CrashingDecord(), 4), DecodeJob(video, HangingDecord(), 4)])
    assert isinstance(crashed, DecodeError) and "SIGSEGV" in crashed.reason
    assert isinstance(hung, DecodeTimeout) and "within 2 s" in hung.reason


def test_a_process_that_does_not_start_is_started_again(
    video: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "started"
    stumble = f"import os\nif not os.path.exists({str(mark)!r}): open({str(mark)!r}, 'w').close(); os._exit(3)\n"
    monkeypatch.setattr(decode_child, "_PAUSES_S", (0.0, 0.0))
    monkeypatch.setattr(decode_child, "_PROGRAM", stumble + decode_child._PROGRAM)
    with DecodePool(deadline_s=60) as pool:
        assert is_right(pool.run([DecodeJob(video, UniformMidpoints(), 4)])[0])
    assert mark.exists()


def test_processes_that_never_start_are_a_named_error(video: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_child, "_PAUSES_S", (0.0, 0.0))
    monkeypatch.setattr(decode_child, "_PROGRAM", "import os; os._exit(3)  # {separator} {module}")
    with pytest.raises(LiteFrameError, match=r"in 3 tries: .* status 3\. Free memory"), DecodePool() as pool:
        pool.run([DecodeJob(video, UniformMidpoints(), 4)])


def test_a_decoder_that_takes_all_memory_is_stopped_in_its_process(video: str) -> None:
    with DecodePool(deadline_s=60, decoder="slow_decoders:takes_all_memory") as pool:
        (result,) = pool.run([DecodeJob(video, UniformMidpoints(), 2)])
    assert isinstance(result, DecodeError) and "MemoryError" in result.reason
