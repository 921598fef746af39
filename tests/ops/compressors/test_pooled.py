from __future__ import annotations

import pytest
import torch
from compressor_loops import assert_same, make_features, vectors

from liteframe.errors import ConfigError, GeometryError
from liteframe.ops.compressors.features import Features
from liteframe.ops.compressors.pooled import average, choose_block, maximum, subsample, wap
from liteframe.ops.wap import wap_weights

GRID = Features(torch.zeros(16, 8, 8, 1))


def blocks_by_hand(features: Features, block: tuple[int, int, int]) -> dict[int, list[int]]:
    """Members of each block by the place of its first token."""
    _, rows, columns = features.grid
    members: dict[int, list[int]] = {}
    for place in range(features.count):
        frame, row, column = place // (rows * columns), place // columns % rows, place % columns
        corner = [size - size % step for size, step in zip((frame, row, column), block, strict=True)]
        members.setdefault((corner[0] * rows + corner[1]) * columns + corner[2], []).append(place)
    return members


def test_poolings_equal_loops():
    features = make_features(rows=2)
    points, members = vectors(features.tokens_THWC), blocks_by_hand(features, (2, 2, 2))
    keep = features.count // 8
    columns = {place: list(zip(*[points[i] for i in inside], strict=True)) for place, inside in members.items()}
    assert_same(average(features, keep), {p: [sum(v) / 8 for v in values] for p, values in columns.items()})
    assert_same(maximum(features, keep), {p: [max(v) for v in values] for p, values in columns.items()})
    assert_same(subsample(features, keep), {place: points[place] for place in members})


def test_wap_weights_each_block_by_its_class_tokens():
    features = make_features(rows=2)
    assert features.cls_TC is not None
    weights = wap_weights(features.tokens_THWC[None], features.cls_TC[None], (2, 2, 2)).flatten().tolist()
    points, expected = vectors(features.tokens_THWC), {}
    for place, inside in blocks_by_hand(features, (2, 2, 2)).items():
        expected[place] = [sum(weights[i] * points[i][c] for i in inside) for c in range(5)]
    assert_same(wap(features, features.count // 8), expected)


@pytest.mark.parametrize(
    ("ratio", "block"),
    [
        (1, (1, 1, 1)),
        (2, (2, 1, 1)),
        (4, (1, 2, 2)),
        (8, (2, 2, 2)),
        (16, (4, 2, 2)),
        (32, (8, 2, 2)),
        (64, (16, 2, 2)),
    ],
)
def test_a_ratio_of_the_paper_gives_its_block_and_the_exact_budget(ratio, block):
    assert choose_block(GRID, GRID.count // ratio) == block
    assert average(GRID, GRID.count // ratio).given == GRID.count // ratio


def test_a_budget_between_two_blocks_gives_the_nearest_and_says_so():
    result = average(GRID, 65)
    assert (result.asked, result.given) == (65, 64)


def test_a_given_block_is_used_whatever_it_gives():
    result = subsample(GRID, 1, block=(1, 8, 8))
    assert (result.asked, result.given) == (1, 16)
    assert result.places_M.tolist() == list(range(0, 16 * 64, 64))


def test_a_block_that_does_not_divide_is_refused():
    with pytest.raises(GeometryError, match="axis H"):
        average(GRID, 4, block=(1, 3, 1))


def test_wap_says_what_it_lacks():
    with pytest.raises(ConfigError, match="WAP needs the class token"):
        wap(GRID, 64)
    with pytest.raises(GeometryError, match="class tokens of shape"):
        wap(Features(GRID.tokens_THWC, cls_TC=torch.zeros(16, 3)), 64)
