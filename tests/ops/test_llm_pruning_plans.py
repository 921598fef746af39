"""Plans of what goes inside the LLM, by hand."""

from __future__ import annotations

import pytest
import torch

from liteframe.errors import ConfigError
from liteframe.ops.llm_pruning import (
    kept_of_lines,
    kept_places,
    mean_tokens,
    merge_into_kept,
    once_plan,
    pyramid_plan,
)


def test_the_papers_settings() -> None:
    assert once_plan(576, 32, ratio=2) == {2: 288}
    assert pyramid_plan(576, 32, ratio=8) == {8: 288, 16: 144, 24: 72}


def test_every_budget_is_met_behind_the_last_pruning() -> None:
    for ratio in (1, 2, 4, 7.5, 16, 64):
        for tokens in (1, 16, 333, 1024):
            for layers in (4, 28, 32):
                wanted = max(1, round(tokens / ratio))
                assert once_plan(tokens, layers, ratio, 1) == {1: wanted}
                plan = pyramid_plan(tokens, layers, ratio)
                assert list(plan.values())[-1] == wanted
                assert list(plan.values()) == sorted(plan.values(), reverse=True) and list(plan) == sorted(plan)


def test_the_mean_over_layers() -> None:
    assert mean_tokens({}, 100, 3) == 100
    assert mean_tokens({1: 10}, 100, 3) == pytest.approx((100 + 10 + 10) / 3)
    assert mean_tokens({1: 50, 2: 10}, 100, 4) == pytest.approx((100 + 50 + 10 + 10) / 4)


def test_text_stays_and_of_equals_the_first() -> None:
    visual = torch.tensor([False, True, True, True, True, False])
    scores = torch.tensor([9.0, 0.2, 0.5, 0.5, 0.1, 0.0])
    assert kept_places(scores, visual, 1).tolist() == [0, 2, 5]
    assert kept_places(scores, visual, 2).tolist() == [0, 2, 3, 5]
    assert kept_places(scores, visual, 9).tolist() == [0, 1, 2, 3, 4, 5]


def loop_lines(scores: list[float], visual: list[bool], keep: int) -> list[int]:
    lines: list[list[int]] = []
    for place, is_visual in enumerate(visual):
        if is_visual and (place == 0 or not visual[place - 1]):
            lines.append([])
        if is_visual:
            lines[-1].append(place)
    everything, stays = [place for line in lines for place in line], []
    for line in lines:
        stays += sorted(line, key=lambda place: -scores[place])[: len(line) * keep // len(everything)]
    rest = sorted(set(everything) - set(stays), key=lambda place: (-scores[place], place))
    return sorted([*(p for p, is_visual in enumerate(visual) if not is_visual), *stays, *rest[: keep - len(stays)]])


def test_every_line_keeps_its_share_and_the_best_take_the_rest() -> None:
    random = torch.Generator().manual_seed(0)
    for _ in range(20):
        visual = torch.rand(30, generator=random) < 0.7
        scores = torch.rand(30, generator=random)
        for keep in range(1, int(visual.sum()) + 1):
            expected = loop_lines(scores.tolist(), visual.tolist(), keep)
            assert kept_of_lines(scores, visual, keep).tolist() == expected
    scores, visual = torch.tensor([9.0, 8, 7, 6, 0, 1, 2, 3]), torch.ones(8, dtype=torch.bool)
    visual[4] = False
    assert kept_of_lines(scores, visual, 4).tolist() == [0, 1, 2, 4, 7]


def test_merging_is_one_mean_after_the_other() -> None:
    random = torch.Generator().manual_seed(1)
    for keep in (1, 3, 12, 19):
        states = torch.randn(25, 6, generator=random)
        visual = torch.arange(25) > 4
        visual[-1] = False
        kept = kept_places(torch.rand(25, generator=random), visual, keep)
        expected = {place: states[place].clone() for place in kept.tolist()}
        targets = [place for place in expected if visual[place]]
        for place in range(25):
            if place not in expected:
                likeness = {t: float(torch.cosine_similarity(states[place], states[t], dim=0)) for t in targets}
                target = max(targets, key=likeness.__getitem__)
                expected[target] = (expected[target] + states[place]) / 2
        torch.testing.assert_close(merge_into_kept(states, visual, kept), torch.stack([*expected.values()]))
    assert merge_into_kept(states.bfloat16(), visual, kept).dtype == torch.bfloat16


def test_what_cannot_be_is_refused() -> None:
    for make, match in (
        (lambda: once_plan(8, 3, 16, 3), "after is 3"),
        (lambda: once_plan(8, 3, 16, 0), "after is 0"),
        (lambda: once_plan(8, 3, 0.5), "ratio"),
        (lambda: pyramid_plan(8, 3, 16, 4), "stages is 4"),
        (lambda: pyramid_plan(8, 3, 16, 1), "stages is 1"),
    ):
        with pytest.raises(ConfigError, match=match):
            make()
