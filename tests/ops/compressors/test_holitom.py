from __future__ import annotations

import dataclasses

import pytest
import torch
from compressor_loops import assert_same, best, clusters, cosine, make_features, mean, peaks, slow_scene, vectors

from liteframe.errors import ConfigError
from liteframe.ops.compressors.budget import proportional
from liteframe.ops.compressors.features import Features
from liteframe.ops.compressors.holitom import holitom, windows


def still_places(same: list[list[bool]], start: int, end: int) -> list[int]:
    """Places that stay as they were from `start` to before `end`."""
    if end - start == 1:
        return []
    return [i for i in range(len(same[0])) if all(same[frame][i] for frame in range(start, end - 1))]


def every_windowing(frames: int) -> list[list[tuple[int, int]]]:
    if not frames:
        return [[]]
    return [[*before, (start, frames)] for start in reversed(range(frames)) for before in every_windowing(start)]


def best_windowing(same: list[list[bool]], frames: int) -> list[tuple[int, int]]:
    """The first of the most worth among all there are."""

    def worth(windowing: list[tuple[int, int]]) -> int:
        return sum(len(still_places(same, start, end)) * (end - start - 1) for start, end in windowing)

    return max(every_windowing(frames), key=worth)


def loop_holitom(features: Features, keep: int, threshold: float = 0.8) -> dict[int, list[float]]:
    frames, rows, columns = features.grid
    count = rows * columns
    points = vectors(features.tokens_THWC)
    attention = features.cls_attention_THW.flatten().tolist()
    same = [
        [cosine(points[f * count + i], points[f * count + count + i]) > threshold for i in range(count)]
        for f in range(frames - 1)
    ]
    parts: list[tuple[bool, list[int], int]] = []
    for start, end in best_windowing(same, frames):
        still = still_places(same, start, end)
        parts.append((True, [start * count + i for i in still], end - start))
        moving = [i for i in range(count) if i not in still]
        parts += [(False, [frame * count + i for i in moving], 1) for frame in range(start, end)]
    sizes = [len(places) for _, places, _ in parts]
    expected = {}
    for (still_part, places, length), share in zip(parts, proportional(keep, sizes, sizes), strict=True):
        if not still_part:
            expected |= {p: points[p] for p in best({p: attention[p] for p in places}, share)}
        elif share:
            tokens = [mean([points[p + frame * count] for frame in range(length)]) for p in places]
            centres = peaks(tokens, 7)[:share]
            for centre, members in zip(centres, clusters(tokens, centres), strict=True):
                others = [tokens[i] for i in members if i != centre]
                middle = mean(others) if others else tokens[centre]
                expected[places[centre]] = [0.6 * x + 0.4 * y for x, y in zip(tokens[centre], middle, strict=True)]
    return expected


@pytest.mark.parametrize("change", [0.1, 0.4, 1.0])
@pytest.mark.parametrize("frames", [1, 2, 6, 9])
def test_holitom_equals_loops_over_every_windowing(frames, change):
    features = slow_scene(frames, change=change)
    for keep in range(1, features.count + 1, 11):
        assert_same(holitom(features, keep), loop_holitom(features, keep))


def test_windows_let_the_most_tokens_go():
    random = torch.Generator().manual_seed(0)
    for _ in range(30):
        same = torch.rand(7, 5, generator=random) < 0.6
        assert windows(same) == best_windowing(same.tolist(), 8)


def test_windows_follow_scenes():
    same = torch.ones(9, 12, dtype=torch.bool)
    same[3] = same[6] = False
    assert windows(same) == [(0, 4), (4, 7), (7, 10)]


def test_a_video_in_which_all_moves_is_cut_into_frames():
    assert windows(torch.zeros(3, 12, dtype=torch.bool)) == [(0, 1), (1, 2), (2, 3), (3, 4)]


def test_a_static_video_leaves_one_frame_and_says_so():
    features = make_features(8)
    still = dataclasses.replace(features, tokens_THWC=features.tokens_THWC[:1].expand(8, -1, -1, -1))
    result = holitom(still, 50)
    assert (result.asked, result.given) == (50, 12)
    torch.testing.assert_close(result.tokens_MC, still.tokens_THWC[0].flatten(0, 1))
    assert result.places_M.tolist() == list(range(12))


def test_in_a_video_in_which_all_moves_each_frame_keeps_its_highest_attention():
    features = make_features(4)
    result = holitom(features, 20, threshold=1.0)
    top = features.cls_attention_THW.flatten(1).topk(5).indices + 12 * torch.arange(4)[:, None]
    assert result.places_M.tolist() == top.flatten().sort().values.tolist()
    assert torch.equal(result.tokens_MC, features.tokens_THWC.flatten(0, 2)[result.places_M])


@pytest.mark.parametrize("settings", [{"threshold": 1.5}, {"centre_weight": -1}, {"neighbours": 0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        holitom(make_features(), 10, **settings)
