from __future__ import annotations

import dataclasses

import pytest
import torch
from compressor_loops import assert_same, best, cosine, make_features, slow_scene, vectors

from liteframe.errors import ConfigError
from liteframe.ops.compressors.dycoke import dycoke
from liteframe.ops.compressors.features import Features


def loop_dycoke(features: Features, keep: int) -> dict[int, list[float]]:
    frames, rows, columns = features.grid
    count = rows * columns
    points = vectors(features.tokens_THWC)
    expected, compared = {}, []
    for first in range(0, frames, 4):
        expected |= {place: points[place] for place in range(first * count, first * count + count)}
        compared += [(first + a, first + b) for a, b in ((1, 0), (2, 0), (3, 2)) if first + a < frames]
    spare = max(0, keep - len(expected))
    for number, (frame, earlier) in enumerate(compared):
        share = (number + 1) * spare // len(compared) - number * spare // len(compared)
        change = {i: -cosine(points[frame * count + i], points[earlier * count + i]) for i in range(count)}
        expected |= {frame * count + i: points[frame * count + i] for i in best(change, share)}
    return expected


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 8])
def test_dycoke_equals_loops(frames):
    features = slow_scene(frames)
    for keep in range(1, features.count + 1, 7):
        assert_same(dycoke(features, keep), loop_dycoke(features, keep))


def test_a_static_video_collapses_to_the_first_frame_of_each_group():
    features = make_features(8)
    still = dataclasses.replace(features, tokens_THWC=features.tokens_THWC[:1].expand(8, -1, -1, -1))
    result = dycoke(still, 24)
    assert result.places_M.tolist() == [*range(12), *range(48, 60)]
    assert torch.equal(result.tokens_MC, still.tokens_THWC[0].flatten(0, 1).repeat(2, 1))


def test_what_moved_is_what_stays():
    features = make_features(4)
    tokens = features.tokens_THWC[:1].expand(4, -1, -1, -1).clone()
    for frame, place in ((1, 3), (2, 7), (3, 2)):
        tokens[frame].view(12, 5)[place] *= -1
    # The fourth frame goes by the third, where place 7 had moved too.
    tokens[3].view(12, 5)[7] = tokens[2].view(12, 5)[7]
    result = dycoke(Features(tokens), 15)
    assert result.places_M.tolist() == [*range(12), 12 + 3, 24 + 7, 36 + 2]


def test_fewer_than_the_first_frames_cannot_be_given_and_it_says_so():
    result = dycoke(make_features(5), 7)
    assert (result.asked, result.given) == (7, 24)


def test_the_papers_share_of_seven_tenths_keeps_0475():
    features = make_features(8, 5, 4)
    result = dycoke(features, round(0.475 * features.count))
    per_frame = torch.bincount(result.places_M // 20, minlength=8)
    assert per_frame.tolist() == [20, 6, 6, 6, 20, 6, 6, 6]


def test_tokens_are_never_changed():
    features = slow_scene()
    result = dycoke(features, 60)
    assert torch.equal(result.tokens_MC, features.tokens_THWC.flatten(0, 2)[result.places_M])


def test_a_group_of_no_frames_is_refused():
    with pytest.raises(ConfigError, match="group must be at least 1"):
        dycoke(make_features(), 10, group=0)
