"""Plans of what goes inside the LLM, by hand."""

from __future__ import annotations

import pytest
import torch

from liteframe.errors import ConfigError
from liteframe.ops.llm_pruning import fastv_plan, kept_places, mean_tokens, pyramid_plan


def test_the_papers_settings() -> None:
    assert fastv_plan(576, 32, ratio=2) == {2: 288}
    assert pyramid_plan(576, 32, ratio=8) == {8: 288, 16: 144, 24: 72}


def test_every_budget_is_met_behind_the_last_pruning() -> None:
    for ratio in (1, 2, 4, 7.5, 16, 64):
        for tokens in (1, 16, 333, 1024):
            for layers in (4, 28, 32):
                wanted = max(1, round(tokens / ratio))
                assert fastv_plan(tokens, layers, ratio, 1) == {1: wanted}
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


def test_what_cannot_be_is_refused() -> None:
    for make, match in (
        (lambda: fastv_plan(8, 3, 16, 3), "after is 3"),
        (lambda: fastv_plan(8, 3, 16, 0), "after is 0"),
        (lambda: fastv_plan(8, 3, 0.5), "ratio"),
        (lambda: pyramid_plan(8, 3, 16, 4), "stages is 4"),
        (lambda: pyramid_plan(8, 3, 16, 1), "stages is 1"),
    ):
        with pytest.raises(ConfigError, match=match):
            make()
