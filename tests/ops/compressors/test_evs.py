from __future__ import annotations

import pytest
import torch
from compressor_loops import assert_same, best, cosine, make_features, slow_scene, vectors

from liteframe.ops.compressors.evs import evs
from liteframe.ops.compressors.features import Features


def loop_evs(features: Features, keep: int) -> dict[int, list[float]]:
    frames, rows, columns = features.grid
    count = rows * columns
    points = vectors(features.tokens_THWC)
    change = {place: -cosine(points[place], points[place - count]) for place in range(count, frames * count)}
    chosen = [*range(count), *best(change, max(0, keep - count))]
    return {place: points[place] for place in chosen}


@pytest.mark.parametrize("frames", [1, 2, 5, 8])
def test_evs_equals_loops(frames):
    features = slow_scene(frames)
    for keep in range(1, features.count + 1, 7):
        assert_same(evs(features, keep), loop_evs(features, keep))


def test_fewer_than_the_first_frame_cannot_be_given_and_it_says_so():
    result = evs(make_features(5), 7)
    assert (result.asked, result.given) == (7, 12)
    assert result.places_M.tolist() == list(range(12))


def test_what_moved_is_what_stays():
    features = make_features(4)
    tokens = features.tokens_THWC[:1].expand(4, -1, -1, -1).clone()
    tokens[2:].view(2, 12, 5)[:, 7] *= -1
    tokens[3].view(12, 5)[2] *= -1
    result = evs(Features(tokens), 14)
    assert result.places_M.tolist() == [*range(12), 24 + 7, 36 + 2]


def test_of_tokens_that_change_alike_the_earliest_stay():
    assert evs(Features(torch.ones(4, 3, 4, 5)), 30).places_M.tolist() == list(range(30))


def test_tokens_are_never_changed():
    features = slow_scene()
    result = evs(features, 60)
    assert torch.equal(result.tokens_MC, features.tokens_THWC.flatten(0, 2)[result.places_M])
