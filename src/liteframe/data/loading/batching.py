"""Which samples make up which batch, as a function of the step: the same on every run, at any number of ranks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Any

import numpy as np

from liteframe.data.loading.mixing import Mixture
from liteframe.data.sampling import FrameSampler
from liteframe.errors import ConfigError

_SHAPE_STREAM = 1
_SAMPLE_STREAM = 3


@dataclass
class BatchShape:
    """One kind of training batch.

    Args:
        frames: frames a video.
        batch_size: videos a batch, on each rank.
        weight: how often this shape is drawn, relative to the others.
        sampler: which frames; by default the data module's `train_sampler`.
        question_types: of rows with `questions`, the types that are asked; all if None.
        from_step: the first training batch, counted from 0 on each rank, that may be of this shape; with `until_step` a
            curriculum, such as short videos first.
        until_step: the first batch that may not any more; None for never.
    """

    frames: int
    batch_size: int
    weight: float = 1.0
    sampler: FrameSampler | None = None
    question_types: list[str] | None = None
    from_step: int = 0
    until_step: int | None = None

    @property
    def has_limits(self) -> bool:
        """Whether there are steps that it is not drawn at."""
        return self.from_step > 0 or self.until_step is not None


@dataclass(frozen=True)
class SampleRequest:
    """What a dataset is asked for: sample `index`, `num_frames` of it, chosen with `seed` by the sampler of `shape`.

    With `blank` for nothing but a sample without frames, in a batch that keeps a rank in step with the others.
    """

    index: int
    num_frames: int
    seed: int
    shape: int = 0
    blank: bool = False


def sample_seed(seed: int, epoch: int, index: int) -> int:
    """Seed of one sample's own randomness: of the run's seed, the pass over the data and the sample, nothing else."""
    state = np.random.SeedSequence([seed, _SAMPLE_STREAM, epoch, index]).generate_state(2, np.uint32)
    return int(state[0]) << 31 | int(state[1]) >> 1


class TrainBatchSampler:
    """Batches of an endless training run, each a function of the settings and the step alone.

    A pass over the data is a seeded permutation, or with weighted sources the order of their `Mixture`. The global
    batch of a step takes its next entries, and rank r the r-th slice, so two ranks with half the batch see together
    what one sees with the whole. A global batch that a pass cannot fill any more is dropped, and a new pass begins.
    With several shapes, that of a step is drawn from the seed and the step: equal on all ranks.

    Args:
        rows: number of samples.
        shapes: kinds of batches.
        seed: of order, shapes and samples.
        rank, world_size: of this process, and how many there are.
        start_step: the first step to give; may be set anew before each `iter`.
        mixture: the sources that the samples come from, where they are to be mixed by weight.

    Raises:
        ConfigError: no shapes, an impossible one, or fewer samples than a global batch.
    """

    def __init__(
        self,
        rows: int,
        shapes: Sequence[BatchShape],
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        start_step: int = 0,
        mixture: Mixture | None = None,
    ) -> None:
        if not shapes:
            raise ConfigError("data.shapes is empty; name at least one shape, or leave it out")
        for shape in shapes:
            if shape.frames < 1 or shape.batch_size < 1 or not shape.weight > 0:
                raise ConfigError(f"data.shapes: {shape}: frames, batch_size and weight must be above 0")
            if shape.batch_size * world_size > rows:
                raise ConfigError(
                    f"data.batch_size: a global batch is {shape.batch_size} videos on each of {world_size} ranks, but"
                    f" there are only {rows} training samples; take a smaller batch, or more videos"
                )
        _require_a_shape_at_all_steps(shapes)
        self.rows, self.shapes, self.seed = rows, list(shapes), seed
        self.rank, self.world_size, self.start_step = rank, world_size, start_step
        self.mixture = mixture or Mixture([rows])

    def __len__(self) -> int:
        """Steps that are called an epoch: those of one pass; with several shapes, of a pass of the mean batch size.

        Where shapes begin or end at a step, those of the first pass.
        """
        if any(shape.has_limits for shape in self.shapes):
            return next(step for step, (epoch, *_) in enumerate(self._plan()) if epoch)
        weights = np.array([shape.weight for shape in self.shapes])
        sizes = np.array([shape.batch_size * self.world_size for shape in self.shapes])
        return int(self.rows * weights.sum() / (weights * sizes).sum() + 1e-9)

    def __iter__(self) -> Iterator[list[SampleRequest]]:
        """The batches of `len(self)` steps from `start_step` on."""
        return islice(self.batches(self.start_step), len(self))

    def batches(self, start_step: int) -> Iterator[list[SampleRequest]]:
        """This rank's batches from `start_step` on, without end."""
        order_N = passes_N = np.empty(0, dtype=np.int64)
        order_epoch = -1
        for epoch, offset, number in islice(self._plan(), start_step, None):
            if epoch != order_epoch:
                order_N, passes_N = self.mixture.order(self.seed, epoch)
                order_epoch = epoch
            shape = self.shapes[number]
            first = offset + self.rank * shape.batch_size
            mine = slice(first, first + shape.batch_size)
            yield [
                SampleRequest(index, shape.frames, sample_seed(self.seed, number_of_pass, index), number)
                for index, number_of_pass in zip(order_N[mine].tolist(), passes_N[mine].tolist(), strict=True)
            ]

    def describe(self) -> dict[str, Any]:
        """What the order of the samples depends on, in plain values, whatever the number of ranks."""
        shapes = [
            [
                shape.frames,
                shape.batch_size * self.world_size,
                float(shape.weight),
                str(shape.sampler),
                shape.question_types,
                *([shape.from_step, shape.until_step] if shape.has_limits else []),
            ]
            for shape in self.shapes
        ]
        return {"rows": self.rows, "seed": self.seed, "shapes": shapes} | self.mixture.describe()

    def _plan(self) -> Iterator[tuple[int, int, int]]:
        """For each step from 0 on: pass over the data, offset of the global batch in it, number of the shape."""
        sizes = [shape.batch_size * self.world_size for shape in self.shapes]
        epoch = offset = 0
        for number in self._shape_numbers():
            if offset + sizes[number] > self.rows:
                epoch, offset = epoch + 1, 0
            yield epoch, offset, number
            offset += sizes[number]

    def _shape_numbers(self) -> Iterator[int]:
        rng, length = np.random.default_rng([self.seed, _SHAPE_STREAM]), 1024
        for first in count(0, length):
            bounds_KN = np.cumsum([_weights(shape, first, length) for shape in self.shapes], axis=0)
            drawn_N = (bounds_KN <= rng.random(length) * bounds_KN[-1]).sum(axis=0)
            last_N = (bounds_KN < bounds_KN[-1]).sum(axis=0)  # the last that has any weight, where rounding goes past
            yield from np.minimum(drawn_N, last_N).tolist()


def _weights(shape: BatchShape, first: int, length: int) -> np.ndarray:
    """How often a shape is drawn at each of these steps, relative to the others."""
    steps_N = np.arange(first, first + length)
    begun_N = steps_N >= shape.from_step
    return shape.weight * (begun_N if shape.until_step is None else begun_N & (steps_N < shape.until_step))


def _require_a_shape_at_all_steps(shapes: Sequence[BatchShape]) -> None:
    for shape in shapes:
        if shape.from_step < 0 or (shape.until_step is not None and shape.until_step <= shape.from_step):
            raise ConfigError(f"data.shapes: {shape}: until_step must be above from_step, and that not below 0")
    for step in (0, *(shape.until_step for shape in shapes if shape.until_step is not None)):
        if not any(_weights(shape, step, 1)[0] for shape in shapes):
            raise ConfigError(f"data.shapes: no shape is drawn at step {step}; see their from_step and until_step")


def require_same_data(before: dict[str, Any], now: dict[str, Any], world_size: int = 1) -> None:
    """Raises ConfigError, naming what differs, if a checkpoint's description of its training data is not this run's.

    Args:
        before, now: what `TrainBatchSampler.describe` said, with what else the data are told by.
        world_size: number of ranks now.
    """
    _require_same_batches(before, now, world_size)
    odd = [
        f"{name}: {before.get(name)} in the checkpoint, {now.get(name)} now"
        for name in {**now, **before}
        if before.get(name) != now.get(name)
    ]
    if odd:
        raise ConfigError(
            f"data: the training data are not those of the checkpoint ({'; '.join(odd)}), so the run cannot go on"
            " from it; set them back, or start a new run"
        )


def _require_same_batches(before: dict[str, Any], now: dict[str, Any], world_size: int) -> None:
    """Raises ConfigError, with the batch size to give, where nothing but the size of global batches has changed."""
    old, new = ([shape[1] for shape in described["shapes"]] for described in (before, now))
    if old == new or _without_sizes(before) != _without_sizes(now):
        return
    setting = "data.batch_size" if len(old) == 1 else "data.shapes: batch_size"
    if any(size % world_size for size in old):
        advice = f"take a number of ranks that divides {_listed(old)}"
    else:
        advice = f"set it to {_listed([size // world_size for size in old])}"
    raise ConfigError(
        f"{setting}: a global batch is of {_listed(new)} videos ({world_size} rank{'s' * (world_size > 1)}), in the"
        f" checkpoint it was of {_listed(old)}, so that samples would be left out or taken twice; {advice}"
    )


def _without_sizes(described: dict[str, Any]) -> dict[str, Any]:
    return {**described, "shapes": [[shape[0], *shape[2:]] for shape in described["shapes"]]}


def _listed(sizes: Sequence[int]) -> str:
    return ", ".join(map(str, sizes))


class SequentialRequests:
    """Each sample exactly once over all ranks, in order, for validation, test and prediction.

    Rank r takes samples r, r + world_size, ...: nothing is padded or repeated, so ranks may differ by one sample.

    Args:
        rows: number of samples.
        num_frames: frames to ask for.
        batch_size: samples a batch; the last one may be smaller.
        seed: of samplers with chance.
        rank, world_size: of this process, and how many there are.
        done: indices of samples to skip, asked for at each `iter`. Samples are split over the ranks first and skipped
            afterwards, so ranks that know of different ones still never read the same sample.
        in_step: a rank with fewer batches than another ends with blank ones, so that all run equally many: for steps
            in which ranks wait for each other.
        part: the samples to share out over the ranks; by default all.
    """

    def __init__(
        self,
        rows: int,
        num_frames: int,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        done: Callable[[], Collection[int]] | None = None,
        in_step: bool = False,
        part: range | None = None,
    ) -> None:
        if num_frames < 1 or batch_size < 1:
            raise ConfigError(f"data.frames and data.batch_size must be above 0, not {num_frames} and {batch_size}")
        self.num_frames, self.batch_size, self.seed = num_frames, batch_size, seed
        part = range(rows) if part is None else part
        self._shares = [part[first::world_size] for first in range(world_size)]
        self._rank, self._done, self._in_step = rank, done, in_step

    def indices(self) -> Sequence[int]:
        """This rank's samples that are not done."""
        return self._left()[self._rank]

    def __len__(self) -> int:
        """Batches of the rank that has most, so that no rank leaves out what all wait for at the end of the loop."""
        return max(-(-len(left) // self.batch_size) for left in self._left())

    def __iter__(self) -> Iterator[list[SampleRequest]]:
        indices = self.indices()
        for first in range(0, len(indices), self.batch_size):
            yield [self._request(index) for index in indices[first : first + self.batch_size]]
        if self._in_step:
            for _ in range(-(-len(indices) // self.batch_size), len(self)):
                yield [replace(self._request(0), blank=True)]

    def _left(self) -> list[Sequence[int]]:
        """The samples of each rank that are not done."""
        done = self._done() if self._done is not None else ()
        if not done:
            return list(self._shares)
        return [[index for index in share if index not in done] for share in self._shares]

    def _request(self, index: int) -> SampleRequest:
        return SampleRequest(index, self.num_frames, sample_seed(self.seed, 0, index))
