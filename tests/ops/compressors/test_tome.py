from __future__ import annotations

import dataclasses
from functools import partial

import pytest
import torch
from compressor_loops import assert_same, best, cosine, make_features, vectors

from liteframe.errors import ConfigError
from liteframe.ops.compressors import similarity
from liteframe.ops.compressors.features import Features
from liteframe.ops.compressors.tome import Merged, merge_down_to, tome

by_keys = partial(tome, by="keys")


def loop_tome(features: Features, places: list[int], keep: int) -> dict[int, list[float]]:
    """Each merged token as its place and its members, rounds of half of them at most."""
    points, keys = vectors(features.tokens_THWC), vectors(features.keys_THWK)
    groups = {place: [place] for place in places}

    def average(table: list[list[float]], place: int) -> list[float]:
        return [sum(table[i][c] for i in groups[place]) / len(groups[place]) for c in range(len(table[0]))]

    while len(groups) > keep:
        row = sorted(groups)
        key = {place: average(keys, place) for place in row}
        partner = {a: max(row[1::2], key=lambda b: (cosine(key[a], key[b]), -b)) for a in row[::2]}
        likeness = {a: cosine(key[a], key[partner[a]]) for a in row[::2]}
        for a in best(likeness, min(len(row) - keep, len(row) // 2)):
            groups[partner[a]] += groups.pop(a)
    return {place: average(points, place) for place in groups}


@pytest.mark.parametrize("keep", [1, 2, 3, 7, 11, 24, 30, 47, 48])
def test_over_the_whole_video_tome_equals_loops(keep):
    features = make_features()
    assert_same(by_keys(features, keep, scope="video"), loop_tome(features, list(range(48)), keep))


def loop_parts(features: Features, keep: int, length: int) -> dict[int, list[float]]:
    """`loop_tome` of each `length` frames by themselves, every frame having its even share of the budget."""
    frames = features.grid[0]
    shares = [(frame + 1) * keep // frames - frame * keep // frames for frame in range(frames)]
    expected: dict[int, list[float]] = {}
    for start in range(0, frames, length):
        places = list(range(12 * start, 12 * min(start + length, frames)))
        if share := sum(shares[start : start + length]):
            expected |= loop_tome(features, places, share)
    return expected


@pytest.mark.parametrize("keep", [2, 5, 13, 40, 48])
def test_each_frame_by_itself_equals_loops(keep):
    features = make_features()
    assert_same(by_keys(features, keep, scope="frame"), loop_parts(features, keep, 1))


@pytest.mark.parametrize("keep", [1, 6, 9, 31, 108])
def test_by_default_each_clip_of_4_frames_by_itself_equals_loops(keep):
    features = make_features(frames=9)
    assert_same(by_keys(features, keep), loop_parts(features, keep, 4))


@pytest.mark.parametrize("clip_frames", [1, 2, 3, 9, 20])
def test_clips_of_other_lengths_equal_loops(clip_frames):
    features = make_features(frames=9)
    assert_same(by_keys(features, 20, clip_frames=clip_frames), loop_parts(features, 20, clip_frames))


@pytest.mark.parametrize("heads", [1, 5])
def test_by_default_tokens_are_compared_themselves(heads):
    features = dataclasses.replace(make_features(frames=9), keys_THWK=None)
    average = features.tokens_THWC.unflatten(-1, (heads, -1)).mean(-2)
    expected = loop_parts(dataclasses.replace(features, keys_THWK=average), 20, 4)
    assert_same(tome(features, 20, heads=heads), expected)


def test_a_clip_knows_nothing_of_the_others():
    features = make_features(frames=8)
    assert features.keys_THWK is not None
    first = Features(features.tokens_THWC[:4], keys_THWK=features.keys_THWK[:4])
    both, alone = by_keys(features, 18), by_keys(first, 9)
    assert torch.equal(both.places_M[:9], alone.places_M) and torch.equal(both.tokens_MC[:9], alone.tokens_MC)


def whole(features: Features) -> Merged:
    assert features.keys_THWK is not None
    count = features.count
    tokens, keys = features.tokens_THWC.flatten(0, 2), features.keys_THWK.flatten(0, 2)
    return Merged(tokens[None], keys[None], torch.ones(1, count, dtype=torch.float64), torch.arange(count)[None])


@pytest.mark.parametrize("keep", [1, 5, 29])
def test_sizes_sum_to_all_patches_and_the_weighted_sum_of_tokens_is_preserved(keep):
    before = whole(make_features())
    after = merge_down_to(before, keep)
    assert after.sizes_PM.sum() == 48
    torch.testing.assert_close((after.sizes_PM[0, :, None] * after.tokens_PMC[0]).sum(0), before.tokens_PMC[0].sum(0))


def test_merging_equal_tokens_changes_nothing():
    features = make_features()
    equal = dataclasses.replace(features, tokens_THWC=features.tokens_THWC[:1, :1, :1].expand(4, 3, 4, 5))
    result = by_keys(equal, 9)
    torch.testing.assert_close(result.tokens_MC, equal.tokens_THWC[0, 0, 0].expand(9, 5))


def test_tokens_of_the_same_key_merge_first():
    """Four things seen from many places: what is kept are the four."""
    kinds = torch.eye(4, dtype=torch.float64).repeat(8, 1)
    order = torch.randperm(32, generator=torch.Generator().manual_seed(0))
    grid = kinds[order].reshape(2, 4, 4, 4)
    result = by_keys(Features(grid, keys_THWK=grid), 8)
    assert torch.isclose(result.tokens_MC.amax(dim=-1), torch.ones(8, dtype=torch.float64)).all()


def test_similarities_in_pieces_are_the_same(monkeypatch):
    features = make_features()
    expected = by_keys(features, 10)
    monkeypatch.setattr(similarity, "_CELLS", 30)
    result = by_keys(features, 10)
    assert torch.equal(result.places_M, expected.places_M)
    assert torch.equal(result.tokens_MC, expected.tokens_MC)


def test_keys_are_averaged_over_heads():
    features = make_features()
    assert features.keys_THWK is not None
    averaged = dataclasses.replace(features, keys_THWK=features.keys_THWK.unflatten(-1, (2, 3)).mean(-2))
    assert torch.equal(by_keys(features, 10, heads=2).tokens_MC, by_keys(averaged, 10).tokens_MC)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"scope": "window"}, "scope must be"),
        ({"clip_frames": 0}, "clip_frames must be"),
        ({"heads": 4}, "4 heads do not divide"),
        ({"heads": 0}, "heads must be"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        by_keys(make_features(), 10, **settings)
