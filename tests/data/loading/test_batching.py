from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest

from liteframe.data.loading.batching import (
    BatchShape,
    SampleRequest,
    SequentialRequests,
    TrainBatchSampler,
    sample_seed,
)
from liteframe.errors import ConfigError

MIX = [BatchShape(4, 6, weight=2.0), BatchShape(8, 4), BatchShape(16, 2, weight=0.5)]


def take(sampler: TrainBatchSampler, start: int, count: int) -> list[list[SampleRequest]]:
    return list(islice(sampler.batches(start), count))


@pytest.mark.parametrize("shapes", [[BatchShape(8, 4)], MIX], ids=["one", "mixed"])
@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_see_together_what_one_sees_alone(shapes: list[BatchShape], world_size: int) -> None:
    whole = [BatchShape(s.frames, s.batch_size * world_size, s.weight) for s in shapes]
    alone = take(TrainBatchSampler(53, whole, seed=5), 0, 60)
    ranks = [take(TrainBatchSampler(53, shapes, 5, rank, world_size), 0, 60) for rank in range(world_size)]
    for step, batch in enumerate(alone):
        assert [request for rank in ranks for request in rank[step]] == batch
        assert len({request.shape for rank in ranks for request in rank[step]}) == 1


@pytest.mark.parametrize("shapes", [[BatchShape(8, 4)], MIX], ids=["one", "mixed"])
def test_any_start_step_gives_the_same_steps(shapes: list[BatchShape]) -> None:
    straight = take(TrainBatchSampler(29, shapes, seed=1), 0, 80)
    for start in (0, 1, 6, 7, 8, 33, 79):
        assert take(TrainBatchSampler(29, shapes, seed=1), start, 80 - start) == straight[start:]
    sampler = TrainBatchSampler(29, shapes, seed=1, start_step=11)
    assert list(sampler) == straight[11 : 11 + len(sampler)]


def test_a_pass_is_a_permutation_without_its_incomplete_batch() -> None:
    sampler = TrainBatchSampler(21, [BatchShape(8, 4)], seed=3)
    assert len(sampler) == 5
    passes = [take(sampler, epoch * 5, 5) for epoch in range(3)]
    for batches in passes:
        indices = [request.index for batch in batches for request in batch]
        assert len(indices) == len(set(indices)) == 20 and set(indices) <= set(range(21))
    assert passes[0] != passes[1] != passes[2]
    assert {request.index for request in passes[0][0]} != set(range(4))


def test_mixed_shapes_come_by_weight_and_repeat_no_sample_within_a_pass() -> None:
    sampler = TrainBatchSampler(50, MIX, seed=9)
    steps = take(sampler, 0, 3000)
    counts = Counter(batch[0].shape for batch in steps)
    assert counts[0] / 3000 == pytest.approx(2 / 3.5, abs=0.03)
    assert counts[2] / 3000 == pytest.approx(0.5 / 3.5, abs=0.03)
    for batch in steps:
        shape = MIX[batch[0].shape]
        assert len(batch) == shape.batch_size and {request.num_frames for request in batch} == {shape.frames}
    seen: set[int] = set()
    passes = 0
    for batch in steps:
        indices = {request.index for request in batch}
        if seen & indices or len(seen) + len(batch) > 50:
            passes, seen = passes + 1, set()
        seen |= indices
    assert passes == pytest.approx(3000 / len(sampler), rel=0.1)


def test_seeds_follow_from_seed_pass_and_sample_only() -> None:
    four = [request for batch in take(TrainBatchSampler(12, [BatchShape(8, 4)], 2), 0, 3) for request in batch]
    six = [request for batch in take(TrainBatchSampler(12, [BatchShape(8, 6)], 2), 0, 2) for request in batch]
    assert {(r.index, r.seed) for r in four} == {(r.index, r.seed) for r in six}
    assert len({sample_seed(s, e, i) for s in range(5) for e in range(5) for i in range(40)}) == 1000
    assert all(0 <= sample_seed(s, 0, 0) < 2**63 for s in range(50))


def test_another_seed_gives_another_order() -> None:
    assert take(TrainBatchSampler(40, MIX, 0), 0, 5) != take(TrainBatchSampler(40, MIX, 1), 0, 5)


@pytest.mark.parametrize(
    ("rows", "shapes", "message"),
    [
        (7, [BatchShape(8, 4)], "only 7 training samples"),
        (70, [], "empty"),
        (70, [BatchShape(0, 4)], "above 0"),
        (70, [BatchShape(4, 4, weight=0.0)], "above 0"),
    ],
)
def test_impossible_settings_are_refused(rows: int, shapes: list[BatchShape], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainBatchSampler(rows, shapes, seed=0, world_size=2)


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
@pytest.mark.parametrize("rows", [0, 1, 5, 7, 12])
def test_sequential_gives_each_sample_exactly_once(rows: int, world_size: int) -> None:
    ranks = [SequentialRequests(rows, 8, 2, 0, rank, world_size) for rank in range(world_size)]
    indices = [request.index for rank in ranks for batch in rank for request in batch]
    assert sorted(indices) == list(range(rows))
    most = max(len(list(rank)) for rank in ranks)
    for rank in ranks:
        assert len(rank) == most and all(1 <= len(batch) <= 2 for batch in rank)


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
@pytest.mark.parametrize("rows", [0, 1, 5, 7, 12])
def test_ranks_in_step_have_equally_many_batches_and_each_sample_once(rows: int, world_size: int) -> None:
    ranks = [list(SequentialRequests(rows, 8, 2, 0, rank, world_size, in_step=True)) for rank in range(world_size)]
    assert len({len(rank) for rank in ranks}) == 1
    requests = [request for rank in ranks for batch in rank for request in batch]
    assert sorted(request.index for request in requests if not request.blank) == list(range(rows))
    assert all(len(batch) == 1 for rank in ranks for batch in rank if batch[0].blank)


def test_ranks_of_which_one_is_done_are_equally_long() -> None:
    ranks = [SequentialRequests(8, 8, 2, 0, rank, 2, done=lambda: {0, 2, 4, 6}) for rank in range(2)]
    assert [len(rank) for rank in ranks] == [2, 2] and [len(list(rank)) for rank in ranks] == [0, 2]


def test_sequential_leaves_out_what_is_done_without_moving_the_rest() -> None:
    full = [request for batch in SequentialRequests(10, 8, 3, 4, 1, 2) for request in batch]
    rest = [request for batch in SequentialRequests(10, 8, 3, 4, 1, 2, done=lambda: {0, 3, 5}) for request in batch]
    assert rest == [request for request in full if request.index not in (3, 5)]


CURRICULUM = [
    BatchShape(8, 4, until_step=30),
    BatchShape(16, 4, 3.0, from_step=10, until_step=1200),
    BatchShape(64, 2, from_step=20),
]


def test_a_curriculum_draws_each_shape_between_its_steps_by_weight() -> None:
    shapes = [batch[0].shape for batch in take(TrainBatchSampler(40, CURRICULUM, seed=3), 0, 3000)]
    steps = {number: [step for step, shape in enumerate(shapes) if shape == number] for number in range(3)}
    assert set(shapes[:10]) == {0} and set(shapes[1200:]) == {2}
    assert steps[0][-1] < 30 and steps[1][0] >= 10 and steps[2][0] >= 20
    middle = Counter(shapes[30:1200])
    assert middle[1] / middle[2] == pytest.approx(3, rel=0.2)


def test_a_curriculum_is_the_same_from_any_step_and_its_first_pass_is_an_epoch() -> None:
    sampler = TrainBatchSampler(40, CURRICULUM, seed=3)
    straight = take(sampler, 0, 80)
    assert take(TrainBatchSampler(40, CURRICULUM, seed=3), 33, 47) == straight[33:]
    seen = [request.index for batch in straight[: len(sampler)] for request in batch]
    assert len(set(seen)) == len(seen) > 36, "a pass repeats nothing, and leaves out less than a batch"


def test_shapes_without_limits_are_drawn_as_they_always_were() -> None:
    bounds = np.cumsum([shape.weight for shape in MIX])
    drawn = np.searchsorted(bounds, np.random.default_rng([7, 1]).random(1024) * bounds[-1], side="right")
    assert [batch[0].shape for batch in take(TrainBatchSampler(500, MIX, seed=7), 0, 1024)] == drawn.tolist()
    assert all(len(shape) == 5 for shape in TrainBatchSampler(500, MIX, seed=7).describe()["shapes"])


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([BatchShape(8, 4, from_step=5)], "no shape is drawn at step 0"),
        ([BatchShape(8, 4, until_step=5), BatchShape(8, 4, from_step=6)], "no shape is drawn at step 5"),
        ([BatchShape(8, 4), BatchShape(8, 4, from_step=6, until_step=6)], "until_step must be above from_step"),
    ],
)
def test_a_curriculum_with_a_gap_is_refused(shapes: list[BatchShape], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainBatchSampler(100, shapes, seed=0)
