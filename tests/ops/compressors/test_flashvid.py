from __future__ import annotations

import math

import pytest
import torch
from compressor_loops import assert_same, best, clusters, cosine, make_features, mean, peaks, slow_scene, vectors

from liteframe.errors import ConfigError
from liteframe.ops.compressors.budget import even, proportional
from liteframe.ops.compressors.features import Features
from liteframe.ops.compressors.flashvid import diverse, flashvid


def loop_diverse(points: list[list[float]], attention: list[float], number: int) -> list[int]:
    chosen: list[int] = []
    for _ in range(number):
        others = {i: [j for j in (chosen or range(len(points))) if j != i] for i in range(len(points))}
        apart = {
            i: min((1 - cosine(points[j], points[i])) * attention[i] for j in others[i])
            for i in range(len(points))
            if i not in chosen
        }
        chosen += best(apart, 1)
    return chosen


def loop_segment(
    frames: list[list[list[float]]], attention: list[list[float]], budgets: list[int]
) -> dict[tuple[int, int], list[float]]:
    """Tokens of a segment by frame and place in it."""
    fixed = {
        (frame, i)
        for frame, points in enumerate(frames)
        for i in loop_diverse(points, attention[frame], math.ceil(0.7 * budgets[frame]))
    }
    result = {(frame, i): frames[frame][i] for frame, i in fixed}
    free = [(f, i) for f in range(len(frames)) for i in range(len(frames[0])) if (f, i) not in fixed]
    budget = sum(budgets) - len(fixed)
    if not budget:
        return result
    parent, likeness = {}, {}
    for frame, i in free:
        before = {j: cosine(frames[frame][i], frames[frame - 1][j]) for f, j in free if f == frame - 1}
        if before:
            (j,) = best(before, 1)
            parent[frame, i], likeness[frame, i] = (frame - 1, j), before[j]
    merged = [token for token in best(likeness, len(free) - budget) if likeness[token] > 0.8]
    trees: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for token in free:
        root = token
        while root in merged:
            root = parent[root]
        trees.setdefault(root, []).append(token)
    means = {root: mean([frames[f][i] for f, i in members]) for root, members in trees.items()}
    left = [[root for root in sorted(means) if root[0] == frame] for frame in range(len(frames))]
    sizes = [len(roots) for roots in left]
    for roots, share in zip(left, proportional(budget, sizes, sizes), strict=True):
        points = [means[root] for root in roots]
        if share == len(roots):
            result |= {root: means[root] for root in roots}
        elif share:
            centres = peaks(points, 7)[:share]
            for centre, members in zip(centres, clusters(points, centres), strict=True):
                result[roots[centre]] = mean([points[member] for member in members])
    return result


def loop_flashvid(features: Features, keep: int) -> dict[int, list[float]]:
    frames, rows, columns = features.grid
    count, points = rows * columns, vectors(features.tokens_THWC)
    attention = features.cls_attention_THW.flatten(1).tolist()
    of_frame = [points[frame * count : frame * count + count] for frame in range(frames)]
    means = [mean(part) for part in of_frame]
    likeness = {frame: -cosine(means[frame], means[frame - 1]) for frame in range(1, frames)}
    cuts = {*best(likeness, 3), *(frame for frame, value in likeness.items() if -value < 0.9)}
    budgets, ends = even(keep, frames), [*sorted(cuts), frames]
    expected = {}
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        part = loop_segment(of_frame[start:end], attention[start:end], budgets[start:end])
        expected |= {(start + frame) * count + i: token for (frame, i), token in part.items()}
    return expected


@pytest.mark.parametrize("frames", [1, 2, 5, 9])
@pytest.mark.parametrize("change", [0.1, 0.5])
def test_flashvid_equals_loops(frames, change):
    features = slow_scene(frames, change=change)
    for keep in range(1, features.count + 1, 9):
        assert_same(flashvid(features, keep), loop_flashvid(features, keep))


def test_long_segments_of_a_slow_video_equal_loops():
    features = slow_scene(12, change=0.03)
    tokens = features.tokens_THWC + 3.0
    features = Features(tokens, features.cls_TC, features.keys_THWK, features.cls_attention_THW)
    for keep in (12, 30, 61, 100, 143):
        assert_same(flashvid(features, keep), loop_flashvid(features, keep))


def test_a_video_that_stands_still_becomes_its_first_frame():
    frame = make_features(1)
    still = Features(
        frame.tokens_THWC.expand(6, -1, -1, -1),
        cls_attention_THW=frame.cls_attention_THW.expand(6, -1, -1),
    )
    result = flashvid(still, 12, segments=1, chosen=0.0)
    assert result.places_M.tolist() == list(range(12))
    torch.testing.assert_close(result.tokens_MC, frame.tokens_THWC.flatten(0, 2))


def test_diverse_tokens_are_no_two_alike():
    features = make_features(2)
    tokens = features.tokens_TNC.clone()
    tokens[:, 6:] = tokens[:, :6]
    chosen_FN = diverse(tokens, torch.full((2, 12), 1 / 12, dtype=tokens.dtype), [6, 3])
    assert chosen_FN.sum(dim=-1).tolist() == [6, 3]
    assert not (chosen_FN[:, :6] & chosen_FN[:, 6:]).any()


@pytest.mark.parametrize(
    ("settings", "match"),
    [({"segments": 0}, "segments"), ({"chosen": 1.1}, "chosen"), ({"neighbours": 0}, "neighbours")],
)
def test_settings_out_of_range_are_refused(settings, match):
    with pytest.raises(ConfigError, match=match):
        flashvid(make_features(), 10, **settings)
