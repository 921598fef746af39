from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from compressor_loops import assert_same, best, cosine, make_features, vectors

from liteframe.errors import ConfigError
from liteframe.ops.compressors.features import Features
from liteframe.ops.compressors.prumerge import frame_budgets, outliers, prumerge, prumerge_plus


def quantile(values: list[float], share: float) -> float:
    """Between the two neighbours in order, linearly."""
    place = share * (len(values) - 1)
    low, high = sorted(values)[math.floor(place)], sorted(values)[math.ceil(place)]
    return low + (high - low) * (place - math.floor(place))


def loop_merge(features: Features, budgets: list[int], uniform: float, neighbours: int) -> dict[int, list[float]]:
    """Each frame: tokens by attention, a share of the budget at even steps over what is left; merging; a sum more."""
    frames, rows, columns = features.grid
    count = rows * columns
    points, keys = vectors(features.tokens_THWC), vectors(features.keys_THWK)
    attention = features.cls_attention_THW.flatten().tolist()
    expected = {}
    for frame in range(frames):
        places = range(frame * count, frame * count + count)
        own = budgets[frame] - 1 if 1 < budgets[frame] < count else budgets[frame]
        tops = own and max(1, own - math.floor(own * uniform + 0.5))
        chosen = best({place: attention[place] for place in places}, tops)
        rest = [place for place in places if place not in chosen]
        spread = own - tops
        chosen += [rest[math.floor((step + 0.5) * len(rest) / spread)] for step in range(spread)]
        for place in chosen:
            likeness = {other: cosine(keys[place], keys[other]) for other in places if other != place}
            near = best(likeness, neighbours)
            expected[place] = [
                points[place][c] + sum(attention[other] * points[other][c] for other in near)
                for c in range(len(points[0]))
            ]
        if own < budgets[frame]:
            gone = [place for place in places if place not in chosen]
            weightiest = max(gone, key=lambda place: attention[place])
            expected[weightiest] = [sum(attention[p] * points[p][c] for p in gone) for c in range(len(points[0]))]
    return expected


@pytest.mark.parametrize("neighbours", [1, 3, 32])
@pytest.mark.parametrize("keep", [1, 3, 4, 10, 29, 48])
def test_prumerge_equals_loops(keep, neighbours):
    features = make_features()
    budgets = frame_budgets(features.cls_attention_THW.flatten(1), keep, whisker=1.5)
    assert_same(prumerge(features, keep, neighbours), loop_merge(features, budgets, 0.0, neighbours))


@pytest.mark.parametrize("uniform", [0.0, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("keep", [1, 4, 17, 48])
def test_prumerge_plus_equals_loops(keep, uniform):
    features = make_features()
    budgets = frame_budgets(features.cls_attention_THW.flatten(1), keep, whisker=1.5)
    assert_same(prumerge_plus(features, keep, uniform, 3), loop_merge(features, budgets, uniform, 3))


def test_outliers_are_above_the_third_quartile_by_the_whisker():
    attention = make_features(frames=5, rows=6, columns=7).cls_attention_THW.flatten(1)
    for frame, count in zip(attention.tolist(), outliers(attention).tolist(), strict=True):
        first, third = quantile(frame, 0.25), quantile(frame, 0.75)
        assert count == sum(value > third + 1.5 * (third - first) for value in frame)
        assert count > 0


def attention_with_outliers(counts: list[int]) -> torch.Tensor:
    attention = torch.linspace(1.0, 1.01, 40, dtype=torch.float64).repeat(len(counts), 1)
    for frame, count in enumerate(counts):
        attention[frame, 3 : 3 + count] = 9.0
    return attention


def test_frames_share_the_budget_by_their_outliers():
    attention = attention_with_outliers([1, 2, 5])
    assert frame_budgets(attention, 8, 1.5) == [2, 2, 4]
    assert frame_budgets(attention, 2, 1.5) == [0, 1, 1]
    assert frame_budgets(attention, 120, 1.5) == [40, 40, 40]


def test_without_outliers_frames_share_evenly():
    assert frame_budgets(torch.ones(4, 10), 8, 1.5) == [2, 2, 2, 2]


def test_the_kept_are_the_outliers_where_the_budget_is_their_number():
    attention = attention_with_outliers([4, 4]).reshape(2, 5, 8)
    features = make_features(2, 5, 8)
    result = prumerge(dataclasses.replace(features, cls_attention_THW=attention), 8, extra=False)
    assert result.places_M.tolist() == [3, 4, 5, 6, 43, 44, 45, 46]


def test_without_attention_nothing_is_added():
    features = make_features()
    silent = dataclasses.replace(features, cls_attention_THW=torch.zeros(4, 3, 4))
    result = prumerge(silent, 20, extra=False)
    torch.testing.assert_close(result.tokens_MC, features.tokens_THWC.flatten(0, 2)[result.places_M])


def test_a_frame_of_one_token_in_the_budget_keeps_it_and_has_no_sum():
    features = make_features()
    result = prumerge(features, 4)
    top = features.cls_attention_THW.flatten(1).argmax(dim=-1) + 12 * torch.arange(4)
    assert torch.equal(result.places_M, top)


def test_uniform_tokens_cover_the_frame():
    features = make_features(1, 8, 8)
    result = prumerge_plus(features, 16)
    assert all(((result.places_M >= start) & (result.places_M < start + 16)).sum() >= 3 for start in (0, 16, 32, 48))


def test_a_frame_of_one_token_has_no_neighbours():
    features = make_features(3, 1, 1)
    assert torch.equal(prumerge(features, 3).tokens_MC, features.tokens_THWC.flatten(0, 2))


@pytest.mark.parametrize("settings", [{"neighbours": 0}, {"uniform": 1.5}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        prumerge_plus(make_features(), 10, **settings)
