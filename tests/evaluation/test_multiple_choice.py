from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from liteframe.errors import DataError
from liteframe.evaluation.benchmarks.question import video_key
from liteframe.evaluation.bootstrap import bootstrap_over_videos
from liteframe.evaluation.multiple_choice import MultipleChoiceAccuracy
from ranks import run_ranks

_TYPES = ("needle", "order", "motion", "persist")


def _answers(videos: int) -> list[tuple[list[bool], list[str], list[str], list[int]]]:
    generator = torch.Generator().manual_seed(7)
    rows = []
    for video in range(videos):
        correct = (torch.rand(4, generator=generator) < 0.6).tolist()
        rows.append((correct, list(_TYPES), [f"video-{video}"] * 4, list(range(4))))
    return rows


def test_overall_types_and_interval() -> None:
    metric = MultipleChoiceAccuracy(samples=300, seed=2)
    metric.update([True, False, True], ["needle", "needle", "order"], ["a", "a", "b"])
    metric.update(torch.tensor([1]), ["order"], ["c"])
    result = metric.compute()
    assert result["accuracy"] == pytest.approx(3 / 4)
    assert result["per_type"] == {"needle": 0.5, "order": 1.0}
    assert result["per_type_questions"] == {"needle": 2, "order": 2}
    assert (result["questions"], result["videos"], result["macro"]) == (4, 3, 0.75)
    assert 0 <= result["accuracy_low"] <= 0.75 <= result["accuracy_high"] <= 1


def test_interval_is_the_bootstrap_over_videos() -> None:
    metric = MultipleChoiceAccuracy(samples=500, seed=4)
    rows = _answers(30)
    for correct, types, videos, numbers in rows:
        metric.update(correct, types, videos, numbers)
    result = metric.compute()
    ids = [video for _, _, videos, _ in rows for video in videos]
    right = [answer for correct, *_ in rows for answer in correct]
    low, high = bootstrap_over_videos(ids, right, samples=500, seed=4)
    # The metric draws hashed ids in another order, so the same draws pick other videos.
    assert result["accuracy_low"] == pytest.approx(low, abs=0.03)
    assert result["accuracy_high"] == pytest.approx(high, abs=0.03)


def test_order_of_answers_changes_nothing_and_reset_forgets() -> None:
    forwards, backwards = MultipleChoiceAccuracy(), MultipleChoiceAccuracy()
    for row in _answers(12):
        forwards.update(*row)
    for row in reversed(_answers(12)):
        backwards.update(*row)
    assert forwards.compute() == backwards.compute()
    forwards.reset()
    with pytest.raises(DataError, match="no answers"), pytest.warns(UserWarning, match="compute"):
        forwards.compute()


def test_a_question_counted_twice_is_refused() -> None:
    metric = MultipleChoiceAccuracy()
    for row in [*_answers(2), _answers(1)[0]]:
        metric.update(*row)
    with pytest.raises(DataError, match="4 questions were counted more than once"):
        metric.compute()


def test_bad_input_is_refused() -> None:
    metric = MultipleChoiceAccuracy()
    with pytest.raises(ValueError, match="differ in length"):
        metric.update([True], ["needle", "order"], ["a", "a"])
    with pytest.raises(ValueError, match="only 0 and 1"):
        metric.update([2], ["needle"], ["a"])
    with pytest.raises(DataError, match="longer than 64 bytes"):
        metric.update([1], ["n" * 65], ["a"])


def _rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    results = []
    for ranks_with_data in (2, 1):
        metric = MultipleChoiceAccuracy(samples=200)
        for index, row in enumerate(_answers(7)):
            if index % ranks_with_data == rank:
                metric.update(*row)
        results.append(metric.compute())
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_ranks_gather_each_answer_once(tmp_path: Path) -> None:
    """Uneven counts (4 and 3 videos), then a rank with none at all."""
    assert run_ranks(_rank, 2, str(tmp_path)) == [0, 0]
    alone = MultipleChoiceAccuracy(samples=200)
    for row in _answers(7):
        alone.update(*row)
    expected = [alone.compute()] * 2
    assert [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)] == [expected, expected]


def rows_of(videos: int, questions: int = 4) -> list[tuple[bool, str, str, str]]:
    """Right or wrong, type, row and file of a list with a row a question; the questions of a file fall alike."""
    generator = torch.Generator().manual_seed(11)
    right = (torch.rand(videos, generator=generator) < 0.5).tolist()
    return [
        (right[video], _TYPES[number % 4], f"row-{video}-{number}", f"/videos/{video}.mp4")
        for video in range(videos)
        for number in range(questions)
    ]


def slow_interval(rows: list[tuple[bool, str, str, str]], draws: int = 4000) -> tuple[float, float]:
    """Whole files drawn one by one with replacement."""
    by_file: dict[str, list[bool]] = {}
    for right, _, _, file in rows:
        by_file.setdefault(file, []).append(right)
    files, generator = sorted(by_file), random.Random(0)
    means = []
    for _ in range(draws):
        drawn = [answer for _ in files for answer in by_file[generator.choice(files)]]
        means.append(sum(drawn) / len(drawn))
    means.sort()
    return means[draws // 40], means[-draws // 40]


def test_rows_about_one_file_are_one_video() -> None:
    rows = rows_of(40)
    metric = MultipleChoiceAccuracy(samples=4000)
    for right, kind, row, file in rows:
        metric.update([right], [kind], [row], [0], [file])
    result = metric.compute()
    assert (result["questions"], result["videos"]) == (160, 40)
    low, high = slow_interval(rows)
    assert result["accuracy_low"] == pytest.approx(low, abs=0.05)
    assert result["accuracy_high"] == pytest.approx(high, abs=0.05)
    apart = MultipleChoiceAccuracy(samples=4000)
    for right, kind, row, _ in rows:
        apart.update([right], [kind], [row], [0])
    wrong = apart.compute()
    assert wrong["videos"] == 160
    assert wrong["accuracy_high"] - wrong["accuracy_low"] < 0.6 * (high - low), "much too narrow"


def test_a_row_a_video_has_the_interval_that_it_had() -> None:
    plain, filed = MultipleChoiceAccuracy(seed=3), MultipleChoiceAccuracy(seed=3)
    for right, kinds, videos, numbers in _answers(20):
        plain.update(right, kinds, videos, numbers)
        filed.update(right, kinds, videos, numbers, [f"/elsewhere/{videos[0]}.mp4"] * 4)
    assert plain.compute() == filed.compute()


def test_the_order_of_rows_about_a_file_changes_nothing() -> None:
    forwards, backwards = MultipleChoiceAccuracy(), MultipleChoiceAccuracy()
    for metric, rows in ((forwards, rows_of(9)), (backwards, rows_of(9)[::-1])):
        for right, kind, row, file in rows:
            metric.update([right], [kind], [row], [0], [file])
    assert forwards.compute() == backwards.compute()
    right_Q, video_Q = forwards.answered()
    assert right_Q.tolist() == [int(right) for right, *_ in rows_of(9)]
    assert [len(set(video_Q[start : start + 4].tolist())) for start in range(0, 36, 4)] == [1] * 9
    assert len(set(video_Q.tolist())) == 9


def test_a_file_is_known_behind_links_and_other_spellings(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").touch()
    (tmp_path / "link.mp4").symlink_to(tmp_path / "videos" / "a.mp4")
    (tmp_path / "folder").symlink_to(tmp_path / "videos")
    spelt = ["videos/a.mp4", "link.mp4", "folder/a.mp4", "folder/../videos/a.mp4"]
    assert len({video_key({"path": f"{tmp_path}/{path}"}) for path in spelt}) == 1
    assert video_key({"path": "https://host/a.mp4"}) == "https://host/a.mp4"
