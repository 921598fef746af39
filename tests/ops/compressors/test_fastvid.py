from __future__ import annotations

import dataclasses

import pytest
import torch
from compressor_loops import assert_same, best, cosine, make_features, mean, peaks, vectors

from liteframe.errors import ConfigError
from liteframe.ops.compressors.fastvid import fastvid, segment_ends, segment_shares
from liteframe.ops.compressors.features import Features


def loop_segments(cls: list[list[float]], segments: int, threshold: float) -> list[list[int]]:
    change = {frame: -cosine(cls[frame - 1], cls[frame]) for frame in range(1, len(cls))}
    cuts = {*best(change, segments - 1), *(frame for frame, value in change.items() if -value < threshold)}
    parts: list[list[int]] = []
    for frame in range(len(cls)):
        if frame == 0 or frame in cuts:
            parts.append([])
        parts[-1].append(frame)
    return parts


def loop_fastvid(
    features: Features, keep: int, segments: int, threshold: float, merged: float, step: int, join: bool = True
) -> dict[int, list[float]]:
    frames, rows, columns = features.grid
    count = rows * columns
    points = vectors(features.tokens_THWC)
    attention = features.cls_attention_THW.flatten().tolist()
    expected = {}
    for part in loop_segments(vectors(features.cls_TC), segments, threshold):
        budget = sum((frame + 1) * keep // frames - frame * keep // frames for frame in part)
        salient_share, anchor_share = segment_shares(budget, len(part), count, merged, step)
        salient: list[int] = []
        for frame, share in zip(part, salient_share, strict=True):
            places = range(frame * count, frame * count + count)
            salient += best({place: attention[place] for place in places}, share)
        expected |= {place: points[place] for place in salient}
        free = [p for frame in part for p in range(frame * count, frame * count + count) if p not in salient]
        for frame, share in zip(part, anchor_share, strict=True):
            if not share:
                continue
            own = [place for place in free if place // count == frame]
            anchors = [own[i] for i in peaks([points[place] for place in own], 4)[:share]]
            members = {anchor: [anchor] if join else [] for anchor in anchors}
            for place in free:
                if place not in anchors:
                    nearest = max(range(share), key=lambda a: (cosine(points[place], points[anchors[a]]), -a))
                    members[anchors[nearest]].append(place)
            for anchor, inside in members.items():
                weight = max(0.6, 1 / (len(inside) + 1))
                middle = mean([points[i] for i in inside]) if inside else points[anchor]
                expected[anchor] = [weight * x + (1 - weight) * y for x, y in zip(points[anchor], middle, strict=True)]
    return expected


@pytest.mark.parametrize(
    ("segments", "threshold", "merged", "step"),
    [(8, 0.9, 0.4, 4), (1, -1.0, 0.4, 4), (3, -1.0, 0.4, 2), (2, 0.2, 1.0, 3), (4, 0.0, 0.0, 4)],
)
@pytest.mark.parametrize("frames", [1, 7])
def test_fastvid_equals_loops(frames, segments, threshold, merged, step):
    features = make_features(frames)
    for keep in range(1, features.count + 1, 9):
        result = fastvid(features, keep, segments, threshold, merged, step)
        assert_same(result, loop_fastvid(features, keep, segments, threshold, merged, step))
        assert result.given == keep


def test_anchors_that_are_no_members_equal_loops():
    features = make_features(7)
    for keep in range(1, features.count + 1, 9):
        result = fastvid(features, keep, anchors_join=False)
        assert_same(result, loop_fastvid(features, keep, 8, 0.9, 0.4, 4, join=False))


def scenes(*lengths: int) -> torch.Tensor:
    """Class tokens of scenes that are each a direction of its own."""
    return torch.cat([torch.eye(8)[scene].expand(length, 8) for scene, length in enumerate(lengths)])


def test_a_change_of_scene_is_a_cut_whatever_the_number_of_segments():
    assert segment_ends(scenes(2, 3, 1), segments=1, threshold=0.9) == [2, 5, 6]


def test_there_are_at_least_so_many_segments_where_nothing_changes():
    assert segment_ends(torch.ones(9, 4), segments=3, threshold=0.9) == [1, 2, 9]
    assert segment_ends(torch.ones(2, 4), segments=8, threshold=0.9) == [1, 2]
    assert segment_ends(torch.ones(1, 4), segments=8, threshold=0.9) == [1]


def test_anchor_frames_are_counted_back_from_the_last_of_a_segment():
    _, anchors = segment_shares(60, frames=6, tokens=100, merged=0.5, anchor_step=4)
    assert anchors == [0, 15, 0, 0, 0, 15]
    _, anchors = segment_shares(61, frames=6, tokens=100, merged=0.51, anchor_step=4)
    assert anchors == [0, 15, 0, 0, 0, 16]


def test_shares_of_a_segment_are_exact_and_fit_into_its_frames():
    for frames in (1, 2, 5, 9):
        for budget in range(frames * 12 + 1):
            salient, anchors = segment_shares(budget, frames, 12, merged=0.4, anchor_step=4)
            assert sum(salient) + sum(anchors) == budget
            assert all(0 <= one + two <= 12 for one, two in zip(salient, anchors, strict=True))


def test_salient_tokens_are_the_top_by_class_attention_and_unchanged():
    features = make_features(8)
    result = fastvid(features, 40)
    tokens = features.tokens_THWC.flatten(0, 2)
    top = features.cls_attention_THW.flatten(1).topk(3).indices + 12 * torch.arange(8)[:, None]
    kept = dict(zip(result.places_M.tolist(), result.tokens_MC, strict=True))
    assert all(torch.equal(kept[place], tokens[place]) for place in top.flatten().tolist())


def test_merging_equal_tokens_changes_nothing():
    features = make_features()
    equal = dataclasses.replace(features, tokens_THWC=features.tokens_THWC[:1, :1, :1].expand(4, 3, 4, 5))
    result = fastvid(equal, 20, segments=1, threshold=-1.0)
    torch.testing.assert_close(result.tokens_MC, equal.tokens_THWC[0, 0, 0].expand(20, 5))


def test_segments_do_not_see_each_other():
    features = make_features(6)
    cut = dataclasses.replace(features, cls_TC=scenes(3, 3).double())
    other = cut.tokens_THWC.clone()
    other[3:] *= -2
    changed = fastvid(dataclasses.replace(cut, tokens_THWC=other), 30, segments=2)
    result = fastvid(cut, 30, segments=2)
    first = result.places_M < 36
    assert torch.equal(changed.places_M[first], result.places_M[first])
    assert torch.equal(changed.tokens_MC[first], result.tokens_MC[first])


@pytest.mark.parametrize("settings", [{"merged": -0.1}, {"anchor_weight": 2}, {"segments": 0}, {"anchor_step": 0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        fastvid(make_features(), 10, **settings)
