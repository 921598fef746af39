from __future__ import annotations

import dataclasses

import pytest
import torch
from compressor_loops import assert_same, best, cosine, make_features, mean, vectors

from liteframe.errors import ConfigError
from liteframe.ops.compressors.features import Features
from liteframe.ops.compressors.visionzip import visionzip


def loop_visionzip(features: Features, keep: int, dominant: float, added: bool = False) -> dict[int, list[float]]:
    frames, rows, columns = features.grid
    count = rows * columns
    points, keys = vectors(features.tokens_THWC), vectors(features.keys_THWK)
    attention = features.cls_attention_THW.flatten().tolist()
    expected = {}
    for frame in range(frames):
        budget = (frame + 1) * keep // frames - frame * keep // frames
        places = range(frame * count, frame * count + count)
        strong = best({place: attention[place] for place in places}, round(budget * dominant + 1e-9))
        expected |= {place: points[place] for place in strong}
        rest = [place for place in places if place not in strong]
        groups = budget - len(strong)
        targets = rest[:: max(1, len(rest) // groups)][:groups] if groups else []
        members: dict[int, list[int]] = {target: [] for target in targets}
        for place in rest if targets else []:
            if place not in targets:
                members[max(targets, key=lambda target: (cosine(keys[place], keys[target]), -target))].append(place)
        for target, inside in members.items():
            if not inside:
                expected[target] = points[target]
            elif added:
                middle = mean([points[i] for i in inside])
                expected[target] = [x + y for x, y in zip(points[target], middle, strict=True)]
            else:
                expected[target] = mean([points[i] for i in [target, *inside]])
    return expected


@pytest.mark.parametrize("dominant", [0.0, 0.5, 54 / 64, 1.0])
@pytest.mark.parametrize("keep", [1, 4, 11, 30, 48])
def test_visionzip_equals_loops(keep, dominant):
    features = make_features()
    assert_same(visionzip(features, keep, dominant), loop_visionzip(features, keep, dominant))


def test_members_added_to_the_target_equal_loops():
    features = make_features()
    assert_same(visionzip(features, 16, 0.5, added=True), loop_visionzip(features, 16, 0.5, added=True))


def test_dominant_tokens_are_the_top_by_class_attention_and_unchanged():
    features = make_features()
    result = visionzip(features, 32, dominant=0.75)
    top = features.cls_attention_THW.flatten(1).topk(6).indices + 12 * torch.arange(4)[:, None]
    found = dict(zip(result.places_M.tolist(), result.tokens_MC, strict=True))
    for place in top.flatten().tolist():
        assert torch.equal(found[place], features.tokens_THWC.flatten(0, 2)[place])


def test_64_tokens_of_a_frame_are_54_and_10():
    features = make_features(1, 16, 16)
    result = visionzip(features, 64)
    unchanged = (result.tokens_MC == features.tokens_THWC.flatten(0, 2)[result.places_M]).all(dim=-1)
    top = features.cls_attention_THW.flatten().topk(54).indices
    assert set(top.tolist()) <= set(result.places_M[unchanged].tolist())
    assert unchanged.sum() <= 54 + 1


def test_one_group_is_the_mean_of_all_that_is_not_dominant():
    features = make_features(1)
    result = visionzip(features, 1, dominant=0.0)
    torch.testing.assert_close(result.tokens_MC[0], features.tokens_THWC.flatten(0, 2).mean(0))


def test_keys_decide_the_groups_and_tokens_do_not():
    features = make_features()
    other = dataclasses.replace(features, tokens_THWC=features.tokens_THWC.flip(-1) * 3)
    result, flipped = visionzip(features, 20), visionzip(other, 20)
    torch.testing.assert_close(flipped.tokens_MC, result.tokens_MC.flip(-1) * 3)


def test_targets_of_equal_keys_stay_apart():
    features = make_features()
    equal = dataclasses.replace(features, keys_THWK=torch.ones(4, 3, 4, 2))
    assert visionzip(equal, 16, dominant=0.25).given == 16


@pytest.mark.parametrize(("settings", "words"), [({"dominant": 1.1}, "dominant"), ({"heads": 5}, "5 heads")])
def test_settings_that_cannot_be_used_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        visionzip(make_features(), 10, **settings)
