"""Sources mixed by weight: shares, passes and ranks."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from liteframe.data.loading.batching import BatchShape, TrainBatchSampler, require_same_data
from liteframe.data.loading.mixing import Mixture
from liteframe.errors import ConfigError

ROWS, WEIGHTS = [5, 40, 15], [3.0, 1.0, 2.0]
"""60 samples: by their weights 30, 10 and 20 places of a pass."""


def source_of(index: int) -> int:
    return 0 if index < 5 else 1 if index < 45 else 2


def sampler(rank: int = 0, world_size: int = 1, batch: int = 6, seed: int = 1) -> TrainBatchSampler:
    mixture = Mixture(ROWS, WEIGHTS)
    return TrainBatchSampler(60, [BatchShape(8, batch)], seed, rank, world_size, mixture=mixture)


def test_each_pass_has_the_shares_of_the_weights() -> None:
    mixture = Mixture(ROWS, WEIGHTS)
    assert mixture.places == [30, 10, 20]
    for epoch in range(3):
        order_N, _ = mixture.order(7, epoch)
        assert Counter(map(source_of, order_N.tolist())) == {0: 30, 1: 10, 2: 20}
        first_half = Counter(map(source_of, order_N[:30].tolist()))
        assert all(first_half[source] > 0 for source in range(3)), "mixed, not one after the other"
    assert (mixture.order(7, 0)[0] != mixture.order(7, 1)[0]).any()
    assert (mixture.order(7, 0)[0] != mixture.order(8, 0)[0]).any()


def test_a_source_repeats_nothing_before_all_of_it_has_come() -> None:
    """Against counting by hand: the samples of a source, in the order drawn, are permutations of it end to end."""
    mixture = Mixture(ROWS, WEIGHTS)
    drawn: dict[int, list[tuple[int, int]]] = {0: [], 1: [], 2: []}
    for epoch in range(8):
        for index, number in zip(*(array.tolist() for array in mixture.order(3, epoch)), strict=True):
            drawn[source_of(index)].append((index, number))
    first = 0
    for source, rows in enumerate(ROWS):
        for number in range(len(drawn[source]) // rows):
            part = drawn[source][number * rows : (number + 1) * rows]
            assert sorted(index for index, _ in part) == list(range(first, first + rows))
            assert {own_pass for _, own_pass in part} == {number}
        orders = {tuple(index for index, _ in drawn[source][at : at + rows]) for at in range(0, 2 * rows, rows)}
        assert len(orders) == 2, "each pass in an order of its own"
        first += rows


def test_a_sample_that_comes_again_in_a_pass_gets_other_frames() -> None:
    requests = [request for batch in islice(sampler().batches(0), 10) for request in batch if request.index == 0]
    assert len(requests) == 6 and len({request.seed for request in requests}) == 6


@pytest.mark.parametrize("start", [0, 1, 9, 10, 23])
def test_any_step_follows_from_seed_and_step(start: int) -> None:
    straight = list(islice(sampler().batches(0), 35))
    assert list(islice(sampler().batches(start), 35 - start)) == straight[start:]
    assert list(islice(sampler(seed=2).batches(start), 5)) != straight[start : start + 5]


def test_ranks_see_together_what_one_sees_alone() -> None:
    alone = list(islice(sampler().batches(0), 25))
    ranks = [list(islice(sampler(rank, 3, 2).batches(0), 25)) for rank in range(3)]
    for step, batch in enumerate(alone):
        assert [request for rank in ranks for request in rank[step]] == batch


def test_without_weights_it_is_one_permutation() -> None:
    plain = TrainBatchSampler(60, [BatchShape(8, 6)], 1)
    listed = TrainBatchSampler(60, [BatchShape(8, 6)], 1, mixture=Mixture(ROWS, [None, None, None]))
    assert list(plain) == list(listed) and plain.describe() == listed.describe()
    assert len({request.index for batch in plain for request in batch}) == 60


def test_other_weights_are_other_data() -> None:
    weighted = sampler().describe()
    plain = TrainBatchSampler(60, [BatchShape(8, 6)], 1).describe()
    for before, now in ((weighted, plain), (plain, weighted)):
        with pytest.raises(ConfigError, match="sources"):
            require_same_data(before, now)
    require_same_data(weighted, sampler(1, 3, 2).describe())


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, None, 1.0], "give each a number above 0"),
        ([1.0, 0.0, 1.0], "above 0"),
        ([1.0, float("inf"), 1.0], "above 0"),
        ([1.0, 1e-4, 1.0], "source 1 gets no sample of a pass of 60"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights: list[float | None], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Mixture(ROWS, weights)


@pytest.mark.parametrize("scale", [1e307, 1e-300])
def test_shares_do_not_depend_on_the_scale_of_the_weights(scale: float) -> None:
    """The sum of weights near the largest number is not finite."""
    assert Mixture(ROWS, [weight * scale * 5 for weight in WEIGHTS]).places == [30, 10, 20]
