from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from liteframe.errors import DataError
from liteframe.evaluation.bootstrap import bootstrap_over_videos
from liteframe.evaluation.multiple_choice import MultipleChoiceAccuracy

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
    mp.spawn(_rank, args=(str(tmp_path),), nprocs=2)
    alone = MultipleChoiceAccuracy(samples=200)
    for row in _answers(7):
        alone.update(*row)
    expected = [alone.compute()] * 2
    assert [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)] == [expected, expected]
