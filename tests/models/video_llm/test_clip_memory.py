"""A memory of bounded size: what it forgets, and that merging is WAP over two neighbours."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from liteframe.errors import ConfigError
from liteframe.models.video_llm.clip_memory import ClipMemory, Remembered, cheapest_pair, merged


def tokens(seed: int, shape: tuple[int, ...] = (2, 3, 8)) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def filled(memory: ClipMemory, count: int) -> ClipMemory:
    for number in range(count):
        memory.add(tokens(number), float(number), number + 0.5)
        assert len(memory.held) <= memory.most
    return memory


def test_window_keeps_the_newest() -> None:
    memory = filled(ClipMemory(4), 11)
    assert [one.start_s for one in memory.held] == [7, 8, 9, 10] and memory.seen == 11
    assert torch.equal(memory.tokens(), torch.stack([tokens(number) for number in range(7, 11)])[None])


@pytest.mark.parametrize("most", [2, 5, 8])
def test_merging_spans_the_whole_video(most: int) -> None:
    memory = filled(ClipMemory(most, "merge"), 50)
    assert len(memory.held) == most and sum(one.groups for one in memory.held) == memory.seen == 50
    assert memory.held[0].start_s == 0 and memory.held[-1].end_s == 49.5
    for before, after in zip(memory.held, memory.held[1:], strict=False):
        assert after.start_s == before.end_s + 0.5  # neighbours stay neighbours


def test_nothing_is_merged_before_the_memory_is_full() -> None:
    memory = filled(ClipMemory(6, "merge"), 6)
    assert torch.equal(memory.tokens()[0], torch.stack([tokens(number) for number in range(6)]))


def test_merged_is_wap_written_out() -> None:
    before, after = Remembered(tokens(1), 3, 0.0, 1.0), Remembered(tokens(2), 1, 2.0, 3.0)
    got = merged(before, after)
    assert (got.groups, got.start_s, got.end_s) == (4, 0.0, 3.0)
    for row in range(2):
        for column in range(3):
            weights, vectors = [], []
            for one in (before, after):
                vector, query = one.tokens_HWC[row, column], one.tokens_HWC.mean(dim=(0, 1))
                cosine = float(vector @ query / vector.norm() / query.norm())
                weights.append(one.groups * math.exp(cosine))
                vectors.append(vector)
            wanted = sum(w * v for w, v in zip(weights, vectors, strict=True)) / sum(weights)
            torch.testing.assert_close(got.tokens_HWC[row, column], wanted)


def test_the_pair_that_differs_least_for_its_age_goes() -> None:
    assert cheapest_pair([5.0, 1.0, 5.0], [1, 1, 1, 1]) == 1
    assert cheapest_pair([1.0, 1.0, 1.0], [1, 1, 1, 1]) == 0  # the oldest of equals
    assert cheapest_pair([0.0, 0.0, 0.0], [1, 1, 1, 1]) == 0

    def slow(differences: list[float], groups: list[int]) -> int:
        def loss(first: int) -> float:
            a, b = groups[first], groups[first + 1]
            return differences[first] / (1 / a + 1 / b) / sum(groups[first + 1 :])

        return min(range(len(differences)), key=loss)

    generator = torch.Generator().manual_seed(3)
    for _ in range(50):
        differences = torch.rand(9, generator=generator).tolist()
        groups = torch.randint(1, 20, (10,), generator=generator).tolist()
        assert cheapest_pair(differences, groups) == slow(differences, groups)


def test_a_still_scene_costs_one_line_and_an_event_stays() -> None:
    memory, event = ClipMemory(6, "merge"), 40
    for number in range(100):
        memory.add(tokens(1 if number == event else 0), float(number), number + 0.5)
    alone = [one for one in memory.held if one.start_s == event]
    assert [one.groups for one in alone] == [1] and torch.equal(alone[0].tokens_HWC, tokens(1))


def test_differences_are_kept_up_to_date() -> None:
    memory = filled(ClipMemory(7, "merge"), 40)
    pairs = zip(memory.held, memory.held[1:], strict=False)
    wanted = [float((a.tokens_HWC - b.tokens_HWC).square().mean()) for a, b in pairs]
    assert memory._differences == pytest.approx(wanted)


def test_a_copy_goes_its_own_way() -> None:
    memory = filled(ClipMemory(4, "merge"), 9)
    before = list(memory.held)
    filled(memory.copy(), 5)
    assert memory.held == before and memory.seen == 9


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="memory is 1"):
        ClipMemory(1)
    with pytest.raises(ConfigError, match="forget is 'all'"):
        ClipMemory(4, "all")  # type: ignore[arg-type]
