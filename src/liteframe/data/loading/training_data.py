"""The data of a training run: its batches, what a checkpoint keeps of them, and what an export says of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from liteframe.data.decoding.processes.pool import DecodePool
from liteframe.data.loading.batching import BatchShape, TrainBatchSampler, require_same_data
from liteframe.data.loading.dataset import ClipSettings, SampleCheck, VideoDataset
from liteframe.data.loading.following import frames_of_store
from liteframe.data.loading.training_samples import TrainingSamples, of_all_rows, of_contents, of_rows, require_ids
from liteframe.data.sampling import FrameSampler
from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.data.sources.row_table import RowTable
from liteframe.data.store.clip_store import ClipStore
from liteframe.data.store.feature_store import FeatureStore

Weights = Sequence[float | None]


def samples_of(source: RowTable | FeatureStore, weights: Weights) -> TrainingSamples:
    """The samples of a run that begins, from lists of these weights or from a feature store."""
    return of_rows(source, weights) if isinstance(source, RowTable) else of_contents(source.contents())


@dataclass(frozen=True)
class TrainingData:
    """What a run trains on.

    Attributes:
        samples: in the order that the run began with.
        source: where they are read now.
        weights: of the lists.
        shapes: of batches, each with its sampler.
        seed: of order, shapes and frames.
        rank, world_size: of this process, and how many there are.
    """

    samples: TrainingSamples
    source: RowTable | FeatureStore
    weights: Weights
    shapes: Sequence[BatchShape]
    seed: int
    rank: int = 0
    world_size: int = 1

    @property
    def samplers(self) -> list[FrameSampler]:
        """One for each shape."""
        return [shape.sampler for shape in self.shapes if shape.sampler is not None]

    def batches(self) -> TrainBatchSampler:
        """Which samples make up which batch."""
        rows, mixture = len(self.samples.keys_N), self.samples.mixture
        return TrainBatchSampler(rows, self.shapes, self.seed, self.rank, self.world_size, mixture=mixture)

    def dataset(
        self,
        pool: DecodePool,
        settings: ClipSettings,
        check: SampleCheck | None,
        clips: ClipStore | None = None,
        timed: bool = False,
    ) -> VideoDataset:
        """The samples, to be asked for by the requests of `batches`; for the arguments see `VideoDataset`."""
        return VideoDataset(
            self.source if isinstance(self.source, RowTable) else [],
            self.samplers,
            pool,
            settings,
            store=None if isinstance(self.source, RowTable) else self.source,
            question_types=[shape.question_types for shape in self.shapes],
            blank_batches=True,
            places_N=self.samples.places_N,
            check=check,
            clips=clips,
            timed=timed,
        )

    def id_at(self, place: int) -> str:
        """Id of the row or entry at a place."""
        return self.source.id_of(place) if isinstance(self.source, RowTable) else self.source.sample_ids()[place]

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps, so that it is not resumed on other data."""
        return {"training_data": self._order(), "sample_keys": self.samples.state()}

    def going_on(self, state_dict: dict[str, Any]) -> TrainingSamples:
        """The samples of a checkpoint, each at its place in the source of now.

        Raises:
            ConfigError: training would go on with other data than the checkpoint's; names what differs.
        """
        before = state_dict["training_data"]
        if (keys := state_dict.get("sample_keys")) is not None:
            sizes = [size for size, _ in before["sources"]] if "sources" in before else None
            samples = self.samples.going_on(keys, sizes)
        else:
            samples, before = self._of_older(before)
        require_same_data(before, replace(self, samples=samples)._order(), self.world_size)
        return samples

    def _order(self) -> dict[str, Any]:
        """What the order of the batches depends on, in plain values."""
        return {**self.batches().describe(), **self.samples.describe()}

    def _of_older(self, before: dict[str, Any]) -> tuple[TrainingSamples, dict[str, Any]]:
        """The samples of a checkpoint of a version without keys of them, and what it would say of its data today."""
        if isinstance(self.source, RowTable):
            require_ids(before, list(self.source.ids()))
            samples = of_all_rows(self.source, self.weights)
            return samples, before | samples.describe()
        require_ids(before, self.source.sample_ids())
        # The frames were the store's then too, whatever `frames` said.
        frames = [shape.frames for shape in self.shapes]
        shapes = [[own, *rest] for own, (_, *rest) in zip(frames, before["shapes"], strict=False)]
        return self.samples, before | self.samples.describe() | {"shapes": shapes}

    def record(self, differs: Collection[str]) -> dict[str, Any]:
        """The settings in plain values, without names of files.

        Args:
            differs: names of the settings that are not what a model was made for.
        """
        from_store = isinstance(self.source, FeatureStore)
        shapes = [
            {"frames": shape.frames, "batch_size": shape.batch_size, "weight": float(shape.weight)}
            | ({} if from_store else _sampler_words(sampler))
            for shape, sampler in zip(self.shapes, self.samplers, strict=True)
        ]
        return {
            "samples": len(self.samples.keys_N),
            "shapes": shapes,
            "seed": self.seed,
            "store": from_store,
            "differs": sorted(differs),
        }


def _sampler_words(sampler: FrameSampler) -> dict[str, str]:
    """Name of a sampler, and that it chooses by time if it does."""
    by_time = {"by": "time"} if getattr(sampler, "by", None) == "time" else {}
    return {"sampler": type(sampler).__name__, **by_time}


def trained_frames(shapes: Sequence[BatchShape], store: FeatureStore | None, settings: ClipSettings) -> FrameSpec:
    """The frames that training is on; a sampler only if all shapes share it."""
    if store is not None:
        return FrameSpec(settings.image_size, settings.clip_frames, None, frames_of_store(store.key).most_frames)
    samplers = [shape.sampler for shape in shapes]
    shared = samplers[0] if all(sampler == samplers[0] for sampler in samplers) else None
    return FrameSpec(settings.image_size, settings.clip_frames, shared, max(shape.frames for shape in shapes))
