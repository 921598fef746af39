"""Merging over all frames at once against loops over tokens."""

from __future__ import annotations

import pytest
import torch

from liteframe.ops.dynamic_merging import Cells, alike, merge, most_alike, totals_by_layer


def cosine(left: list[float], right: list[float]) -> float:
    return float(torch.cosine_similarity(torch.tensor(left), torch.tensor(right), dim=0, eps=1e-12))


class LoopedFrame:
    """Tokens of one frame: value, size, and which of the first ones each holds."""

    def __init__(self, values: list[list[float]]) -> None:
        self.tokens = [(value, 1, [place]) for place, value in enumerate(values)]

    def pairs(self) -> list[tuple[float, int, int]]:
        found = []
        for a in range(0, len(self.tokens), 2):
            others = range(1, len(self.tokens), 2)
            if others:
                best = max(others, key=lambda b: (cosine(self.tokens[a][0], self.tokens[b][0]), -b))
                found.append((cosine(self.tokens[a][0], self.tokens[best][0]), a, best))
        return found

    def merge(self, goes: dict[int, int]) -> None:
        merged = list(self.tokens)
        for b in {*goes.values()}:
            members = [b, *(a for a, target in goes.items() if target == b)]
            size = sum(self.tokens[member][1] for member in members)
            value = [
                sum(self.tokens[member][0][k] * self.tokens[member][1] for member in members) / size
                for k in range(len(self.tokens[b][0]))
            ]
            merged[b] = (value, size, [place for member in members for place in self.tokens[member][2]])
        even = [merged[a] for a in range(0, len(merged), 2) if a not in goes]
        self.tokens = [*even, *merged[1::2]]


def looped(frames: list[LoopedFrame], merges: int | None, threshold: float = 0.0) -> float:
    """One round; gives the threshold that so many merges amount to."""
    pairs = [(likeness, number, a, b) for number, frame in enumerate(frames) for likeness, a, b in frame.pairs()]
    pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    going = pairs[:merges] if merges is not None else [pair for pair in pairs if pair[0] > threshold]
    for number, frame in enumerate(frames):
        frame.merge({a: b for _, own, a, b in going if own == number})
    return max(0.0, pairs[len(going)][0]) if len(going) < len(pairs) else 0.0


def assert_same(cells: Cells, frames: list[LoopedFrame]) -> None:
    for number, frame in enumerate(frames):
        count = len(frame.tokens)
        sizes = cells.sizes_FM[number].tolist()
        assert sizes == [*(size for _, size, _ in frame.tokens), *[0] * (len(sizes) - count)]
        torch.testing.assert_close(
            cells.values_FMC[number, :count], torch.tensor([value for value, _, _ in frame.tokens])
        )
        owner = {place: token for token, (_, _, places) in enumerate(frame.tokens) for place in places}
        assert cells.owners_FN[number].tolist() == [owner[place] for place in range(len(owner))]
    assert cells.total == sum(len(frame.tokens) for frame in frames)
    assert cells.values_FMC.shape[1] == max(len(frame.tokens) for frame in frames)


@pytest.mark.parametrize("rounds", [[0, 7, 9, 8, 5], [20, 1, 6, 3], [3, 3, 3, 3, 3, 3, 40, 40, 40, 40]])
def test_rounds_of_merging_equal_loops(rounds: list[int]) -> None:
    values = torch.randn(5, 9, 4, generator=torch.Generator().manual_seed(len(rounds)))
    values[2] = values[2, :1] + 0.1 * values[2]  # a simple frame
    cells, frames = Cells.unmerged(values), [LoopedFrame(frame.tolist()) for frame in values]
    for merges in rounds:
        pairs = alike(cells.values_FMC, cells.sizes_FM)
        going, threshold = most_alike(pairs, merges)
        cells = merge(cells, pairs, going)
        assert threshold == pytest.approx(looped(frames, merges), abs=1e-6)
        assert_same(cells, frames)
    assert len({len(frame.tokens) for frame in frames}) > 1 or cells.total == 5
    assert len(frames[2].tokens) <= min(len(frame.tokens) for frame in frames)


def test_a_threshold_merges_all_that_is_more_alike() -> None:
    values = torch.randn(4, 8, 3, generator=torch.Generator().manual_seed(0))
    cells, frames = Cells.unmerged(values), [LoopedFrame(frame.tolist()) for frame in values]
    for threshold in (0.9, 0.6, 0.6, 0.3):
        pairs = alike(cells.values_FMC, cells.sizes_FM)
        cells = merge(cells, pairs, pairs.likeness_FA > threshold)
        looped(frames, None, threshold)
        assert_same(cells, frames)
    assert 4 < cells.total < 20


def test_nothing_merges_with_what_is_not_there() -> None:
    pairs = alike(torch.ones(2, 3, 4), torch.tensor([[1.0, 2.0, 0.0], [1.0, 0.0, 0.0]]))
    assert pairs.likeness_FA.isfinite().tolist() == [[True, False], [False, False]]
    assert most_alike(pairs, 9)[0].tolist() == [[True, False], [False, False]]
    numbers_only = alike(torch.tensor([[[torch.nan], [1.0], [0.0], [0.0]]]), torch.tensor([[1.0, 1.0, 0.0, 0.0]]))
    assert most_alike(numbers_only, 1)[0].tolist() == [[True, False]], "what is not a number merges as well"
    single = alike(torch.ones(2, 1, 4), torch.ones(2, 1))
    going, threshold = most_alike(single, 3)
    assert (going.tolist(), threshold) == ([[False], [False]], 0.0)


@pytest.mark.parametrize(
    ("cells", "ratio", "layers", "expected"),
    [
        (256, 16, 24, [256 - 10 * layer for layer in range(1, 25)]),
        (16, 16, 4, [8, 4, 2, 1]),
        (16, 4, 4, [13, 10, 7, 4]),
        (16, 16, 2, [8, 4]),
        (16, 1, 3, [16, 16, 16]),
        (16, 5, 4, [12, 8, 4, 3.25]),
    ],
)
def test_equally_many_go_in_each_layer(cells: int, ratio: float, layers: int, expected: list[float]) -> None:
    assert totals_by_layer(4, cells, round(4 * cells / ratio), layers) == [4 * left for left in expected]
