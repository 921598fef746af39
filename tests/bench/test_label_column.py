from __future__ import annotations

import itertools

import numpy as np
import pytest

from liteframe.bench.label_column import spread_apart


@pytest.mark.parametrize("seed", range(5))
def test_labels_keep_apart_in_order_and_inside(seed: int) -> None:
    places = np.random.default_rng(seed).uniform(0, 100, 12).tolist()
    found = spread_apart(places, 6.0, 0.0, 100.0)
    order = np.argsort(places)
    heights = [found[i] for i in order]
    assert all(b - a >= 6.0 - 1e-6 for a, b in itertools.pairwise(heights))
    assert min(found) >= -1e-6 and max(found) <= 100.0 + 1e-6


def test_labels_with_room_stay_where_they_are() -> None:
    assert spread_apart([10.0, 50.0, 30.0], 5.0, 0.0, 100.0) == pytest.approx([10.0, 50.0, 30.0])
    assert spread_apart([], 5.0, 0.0, 1.0) == []


def test_two_at_one_place_move_evenly() -> None:
    assert spread_apart([50.0, 50.0], 10.0, 0.0, 100.0) == pytest.approx([45.0, 55.0])


def test_too_many_share_the_room_there_is() -> None:
    assert spread_apart([5.0] * 11, 50.0, 0.0, 100.0) == pytest.approx([10.0 * i for i in range(11)])
