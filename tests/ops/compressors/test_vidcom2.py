from __future__ import annotations

import math

import pytest
import torch
from compressor_loops import assert_same, best, make_features, mean, slow_scene, vectors

from liteframe.errors import ConfigError
from liteframe.ops.compressors.features import Features
from liteframe.ops.compressors.vidcom2 import vidcom2


def likeness(point: list[float], centre: list[float]) -> float:
    apart = math.dist(point, centre) ** 2
    return sum(math.exp(-apart / (2 * 2**power)) for power in range(-3, 2))


def loop_vidcom2(features: Features, keep: int) -> dict[int, list[float]]:
    frames, rows, columns = features.grid
    count, points = rows * columns, vectors(features.tokens_THWC)
    width = len(points[0])
    middle = mean(points)
    spread = {c: -sum((point[c] - middle[c]) ** 2 for point in points) for c in range(width)}
    quiet = best(spread, width // 2)
    unit = [[point[c] / math.hypot(*(point[q] for q in quiet)) for c in quiet] for point in points]
    video = mean(unit)
    to_video = [likeness(point, video) for point in unit]
    parts = [range(frame * count, frame * count + count) for frame in range(frames)]
    unlike = [-sum(to_video[place] for place in part) / count / 0.01 for part in parts]
    weights = [math.exp(value - max(unlike)) for value in unlike]
    shares = [keep / frames * (1 + weight / sum(weights) - 1 / frames) for weight in weights]
    assert max(shares) <= count, "no frame is full, so rounding is by the largest remainders alone"
    budgets = [math.floor(share + 1e-9) for share in shares]
    for frame in best({frame: shares[frame] - budgets[frame] for frame in range(frames)}, keep - sum(budgets)):
        budgets[frame] += 1
    chosen = []
    for part, budget in zip(parts, budgets, strict=True):
        frame = mean([unit[place] for place in part])
        chosen += best({place: -(to_video[place] + likeness(unit[place], frame)) for place in part}, budget)
    return {place: points[place] for place in chosen}


@pytest.mark.parametrize("frames", [1, 2, 5, 8])
def test_vidcom2_equals_loops(frames):
    features = slow_scene(frames, channels=8)
    for keep in range(1, features.count // 3, 5):
        assert_same(vidcom2(features, keep), loop_vidcom2(features, keep))


def test_a_frame_that_is_unlike_the_video_gets_more():
    tokens = make_features(1, channels=8).tokens_THWC.expand(6, -1, -1, -1).clone()
    tokens[4] *= -1
    result = vidcom2(Features(tokens), 30)
    assert torch.bincount(result.places_M // 12, minlength=6).argmax() == 4


@pytest.mark.parametrize("keep", [1, 7, 40, 96])
def test_the_budget_is_met_and_tokens_are_never_changed(keep):
    features = slow_scene()
    result = vidcom2(features, keep)
    assert result.given == keep
    assert torch.equal(result.tokens_MC, features.tokens_THWC.flatten(0, 2)[result.places_M])


@pytest.mark.parametrize("channels", [0.0, 1.5])
def test_a_share_of_channels_that_is_none_is_refused(channels):
    with pytest.raises(ConfigError, match="channels"):
        vidcom2(make_features(), 10, channels=channels)
