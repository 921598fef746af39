from __future__ import annotations

import itertools

import pytest
import torch
from compressor_loops import assert_same, clusters, cosine, make_features, mean, peaks, slow_scene, vectors

from liteframe.errors import ConfigError
from liteframe.ops.compressors.budget import proportional
from liteframe.ops.compressors.features import Features
from liteframe.ops.compressors.prunevid import frame_segments, prunevid, without_gaps


def loop_parts(features: Features, segments: list[tuple[int, int]], threshold: float) -> list[dict[int, list[float]]]:
    """The still tokens of each segment, then the moving ones of each of its frames, as place and token."""
    count = features.grid[1] * features.grid[2]
    points = vectors(features.tokens_THWC)
    parts = []
    for start, end in segments:
        still = {}
        for i in range(count):
            seen = [points[frame * count + i] for frame in range(start, end)]
            pairs = [cosine(a, b) for a, b in itertools.combinations(seen, 2)]
            if pairs and sum(pairs) / len(pairs) > threshold:
                still[start * count + i] = mean(seen)
        parts.append(still)
        for frame in range(start, end):
            moving = [i for i in range(count) if start * count + i not in still]
            parts.append({frame * count + i: points[frame * count + i] for i in moving})
    return parts


def loop_prunevid(features: Features, keep: int, temporal: float = 0.25, threshold: float = 0.8):
    frames, rows, columns = features.grid
    points = vectors(features.tokens_THWC)
    count = rows * columns
    framewise = [mean(points[frame * count : frame * count + count]) for frame in range(frames)]
    groups = clusters(framewise, peaks(framewise, 7)[: max(1, int(frames * temporal))])
    labels = [next(n for n, group in enumerate(groups) if frame in group) for frame in range(frames)]
    settled = without_gaps(labels)
    cuts = [0, *(frame for frame in range(1, frames) if settled[frame] != settled[frame - 1]), frames]
    parts = loop_parts(features, list(itertools.pairwise(cuts)), threshold)
    sizes = [len(part) for part in parts]
    expected = {}
    for part, share in zip(parts, proportional(keep, sizes, sizes), strict=True):
        if share:
            places, tokens = list(part), list(part.values())
            centres = peaks(tokens, 7)[:share]
            for centre, members in zip(centres, clusters(tokens, centres), strict=True):
                expected[places[centre]] = mean([tokens[i] for i in members])
    return expected


@pytest.mark.parametrize("temporal", [0.1, 0.25, 0.6])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("frames", [1, 3, 8])
def test_prunevid_equals_loops(frames, seed, temporal):
    features = slow_scene(frames, seed=seed)
    for keep in range(1, features.count + 1, 11):
        assert_same(prunevid(features, keep, temporal), loop_prunevid(features, keep, temporal))


@pytest.mark.parametrize(
    ("labels", "settled"),
    [
        ([0, 0, 1, 1], [0, 0, 1, 1]),
        ([0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 1, 1]),  # a later stretch of a cluster joins its neighbour
        ([0, 0, 1, 2, 2, 2], [0, 0, 2, 2, 2, 2]),  # a single frame joins the longer one
        ([0, 0, 1, 2, 2], [0, 0, 0, 2, 2]),  # the left one of equals
        ([0, 0, 1, 1, 0, 0], [0, 0, 1, 1, 0, 0]),  # both longest stretches stay
        ([0, 1, 2, 3], [0, 0, 0, 0]),  # nothing is longer than a frame
        ([1, 0, 0, 1], [0, 0, 0, 0]),
        ([5], [0]),
    ],
)
def test_clusters_of_frames_become_segments_without_gaps(labels, settled):
    assert without_gaps(labels) == settled


def test_scenes_become_segments():
    random = torch.Generator().manual_seed(0)
    scene_TC = torch.eye(6)[[0, 0, 0, 3, 3, 3, 3, 5, 5, 5, 5, 5]] * 9
    frames_TC = scene_TC + 0.01 * torch.randn(12, 6, generator=random)
    assert frame_segments(frames_TC, temporal=0.25, neighbours=3) == [(0, 3), (3, 7), (7, 12)]


def test_a_static_video_leaves_one_frame_and_says_so():
    features = make_features(8)
    still = Features(features.tokens_THWC[:1].expand(8, -1, -1, -1))
    result = prunevid(still, 50, temporal=0.125)
    assert (result.asked, result.given) == (50, 12)
    torch.testing.assert_close(result.tokens_MC, still.tokens_THWC[0].flatten(0, 1))


def test_a_budget_of_all_that_is_left_merges_nothing_but_still_tokens():
    features = slow_scene()
    result = prunevid(features, features.count)
    assert result.given < features.count
    again = prunevid(features, result.given)
    assert torch.equal(again.tokens_MC, result.tokens_MC)


def test_the_mean_over_all_clusters_is_preserved_in_a_video_that_moves():
    """One cluster a frame is the frame's mean."""
    features = make_features(6)
    result = prunevid(features, 6, threshold=1.0)
    torch.testing.assert_close(result.tokens_MC, features.tokens_THWC.flatten(1, 2).mean(1))


@pytest.mark.parametrize("settings", [{"temporal": 1.5}, {"threshold": -2}, {"neighbours": 0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        prunevid(make_features(), 10, **settings)
