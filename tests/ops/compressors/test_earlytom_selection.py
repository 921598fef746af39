from __future__ import annotations

import pytest
from compressor_loops import assert_same, best, make_features, vectors

from liteframe.errors import ConfigError
from liteframe.ops.compressors.budget import even
from liteframe.ops.compressors.earlytom import earlytom
from liteframe.ops.compressors.features import Features

SEGMENTS = {1: [(0, 1)], 2: [(0, 1), (1, 2)], 7: [(0, 1), (1, 5), (5, 7)], 9: [(0, 5), (5, 9)]}


def loop_earlytom(features: Features, keep: int, segments: list[tuple[int, int]]) -> dict[int, list[float]]:
    frames, rows, columns = features.grid
    count, points = rows * columns, vectors(features.tokens_THWC)
    attention = features.cls_attention_THW.flatten(1).tolist()
    ends = {frame for start, end in segments for frame in (start, end - 1)}
    kept = []
    for frame, budget in enumerate(even(keep, frames)):
        if frame in ends:
            chosen = best(dict(enumerate(attention[frame])), budget)
        else:
            chosen, start = [], 0
            for window in range(budget):
                length = count // budget + (window < count % budget)
                chosen += best({place: attention[frame][place] for place in range(start, start + length)}, 1)
                start += length
        kept += [frame * count + place for place in chosen]
    return {place: points[place] for place in kept}


@pytest.mark.parametrize("frames", SEGMENTS)
def test_selection_equals_loops_at_every_budget(frames: int) -> None:
    features = make_features(frames)
    for keep in range(1, features.count + 1):
        assert_same(earlytom(features, keep, SEGMENTS[frames]), loop_earlytom(features, keep, SEGMENTS[frames]))


def test_class_attention_is_needed() -> None:
    with pytest.raises(ConfigError, match="EarlyTom needs the class token's attention"):
        earlytom(Features(make_features().tokens_THWC), 3, [(0, 4)])
