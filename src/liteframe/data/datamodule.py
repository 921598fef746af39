"""The one data module: manifests or a feature store in, the batches of every stage out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only

from liteframe.data.decoding.processes.pool import DecodePool
from liteframe.data.decoding.processes.reader_threads import threads_for
from liteframe.data.limits import require_batches_fit, require_possible
from liteframe.data.loading.batching import BatchShape, SequentialRequests, TrainBatchSampler
from liteframe.data.loading.dataset import ClipSettings, VideoDataset, open_store, window_ids
from liteframe.data.loading.following import follow, frames_of_store
from liteframe.data.loading.loader import VideoLoader
from liteframe.data.loading.run_ledger import open_ledger, writes_nothing
from liteframe.data.loading.skips import SkipLedger, Skipped
from liteframe.data.loading.source_report import report_sources
from liteframe.data.loading.split_rows import SPLITS_OF_VERB, Split, mark_refused, read_split, said_of_shared
from liteframe.data.loading.stage_checks import StageChecks
from liteframe.data.loading.trainer_progress import batches_done, batches_of_run, is_fitting, ranks_of, validates_every
from liteframe.data.loading.training_data import TrainingData, samples_of, trained_frames
from liteframe.data.loading.training_samples import TrainingSamples, report_changes
from liteframe.data.loading.unused_settings import (
    require_consistent,
    require_used,
    said_of_steps,
    said_of_training,
)
from liteframe.data.remote.cache import RemoteCache
from liteframe.data.sampling import FrameSampler, RandomSegment, UniformMidpoints
from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.data.sources.manifest import Sources, VideoRow, as_sources
from liteframe.data.sources.row_checks import RowCheck
from liteframe.data.sources.row_table import RowTable
from liteframe.data.store.block_cache import StoreCache
from liteframe.data.store.clip_store import ClipStore
from liteframe.data.store.feature_store import FeatureStore, StoreKey, read_key
from liteframe.data.store.list_shard import ListShard
from liteframe.errors import DataError
from liteframe.system.run_seed import own_or_run_seed

_FRAMES = _BATCH_SIZE = 8
_USUAL_SIDE = 448
_WORDS = ("rows", "sample_ids", "skipped", "frame_times_s")
"""What of a batch is no tensor."""


class VideoDataModule(LightningDataModule):
    """Videos of manifests or folders, as batches for every stage.

    Order, frames and skips follow from the settings and the number of batches done, so a run that is resumed from a
    checkpoint in mid-epoch goes on with the batches that a straight run would have had.

    Args:
        train: lists (JSONL, JSON, Parquet) or folders of videos to train on. As `path`, `root` and `weight` they also
            say where the videos of a list lie, and how several are mixed.
        val: lists or folders to validate on.
        test: lists or folders to test on.
        predict: lists or folders for `predict`, as the cache stage uses it.
        store: folder of a feature store, or its address (`s3://bucket/store`); training then reads its entries with
            their targets, and `train` stays unset.
        store_root: folder that the videos of the store lie in now, where they have moved: it stands for the root of the
            list that the store was made of, or the list's own folder. A store that keeps frames needs no videos.
        store_cache: folder and size of a cache of what is read of a store at an address; 50 GB in the user's cache by
            default.
        frames: frames a video; by default those of the feature store's samples, or 8. Training from a store takes the
            frames that it has.
        batch_size: videos a batch, on each rank; 8 by default.
        shapes: kinds of training batches to mix, in place of one of `frames` and `batch_size`, which beside shapes are
            those of validation, test and prediction alone.
        sampler: chooses frames for validation, test and prediction. Null follows the model that is evaluated, and is
            UniformMidpoints where that does not say otherwise.
        train_sampler: chooses frames for training; by default RandomSegment.
        windows_per_video: samples of each video in `predict`, drawn by a `sampler` with chance.
        clip_frames: samples are padded to a multiple of it by their last frame. Null follows the feature store or the
            stage's model, and is 4 where neither says otherwise.
        image_size: height and width of the frames in pixels, one number for a square. Null follows the feature store
            or the stage's model, and is 448 where neither says otherwise.
        decoder: "decord", "pyav", "torchcodec", "auto" (PyAV), or "package.module:function".
        truncated: "error" counts a video that is cut short as one that cannot be decoded, "use" takes what is there.
        decode_processes: decode processes of each loader worker.
        decode_deadline_s: seconds without progress after which decoding a video is given up; each frame read begins
            them anew, and 20 times as many and a second for each 32 KiB of the file are the most.
        num_workers: loader processes; 0 loads in the main process, decoding in its children all the same.
        prefetch_factor: batches that each loader worker prepares ahead; without workers none is.
        on_error: "error" stops at a row that cannot be used or a video that cannot be decoded, "skip" leaves it out and
            lists it in skipped.jsonl.
        max_skip_fraction: share of skipped videos above which the run stops.
        seed: of the order of the data, of shapes and of frames; by default that of `--seed_everything`.
        pin_memory: put batches into page-locked memory, for copies to a GPU.
        remote_cache: folder and size of a cache, where paths are URLs (`s3://`, `gs://`, `hf://`, `https://`, ...).
        clip_store: folder and size of a store of decoded and scaled frames. A video is decoded at its first visit and
            not again, by this run or another, where the same frames are chosen each time: by a sampler without chance,
            or by a feature store that keeps no frames.
    """

    def __init__(
        self,
        train: Sources | None = None,
        val: Sources | None = None,
        test: Sources | None = None,
        predict: Sources | None = None,
        store: str | None = None,
        store_root: str | None = None,
        store_cache: StoreCache | None = None,
        frames: int | None = None,
        batch_size: int | None = None,
        shapes: list[BatchShape] | None = None,
        sampler: FrameSampler | None = None,
        train_sampler: FrameSampler | None = None,
        windows_per_video: int = 1,
        clip_frames: int | None = None,
        image_size: int | tuple[int, int] | None = None,
        decoder: str = "auto",
        truncated: Literal["error", "use"] = "error",
        decode_processes: int = 1,
        decode_deadline_s: float = 30.0,
        num_workers: int = 0,
        prefetch_factor: int | None = None,
        on_error: Literal["error", "skip"] = "error",
        max_skip_fraction: float = 0.05,
        seed: int | None = None,
        pin_memory: bool = False,
        remote_cache: RemoteCache | None = None,
        clip_store: ClipStore | None = None,
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True
        sources = {"train": train, "val": val, "test": test, "predict": predict}
        self.sources = {split: as_sources(given) if given else [] for split, given in sources.items()}
        self.store_path, self.store_root, self.store_cache = store, store_root, store_cache
        optional: dict[str, Any] = {"frames": frames, "batch_size": batch_size, "shapes": shapes, "sampler": sampler}
        optional |= {"train_sampler": train_sampler, "image_size": image_size, "clip_frames": clip_frames}
        self.given = {name for name, value in optional.items() if value is not None}
        """Of the settings whose default depends on others, those that were given."""
        self.told = frozenset(self.given)
        """Of these, those that are said of this very run: the command line takes out what a config's file gives."""
        self.frames = _FRAMES if frames is None else frames
        self.batch_size = _BATCH_SIZE if batch_size is None else batch_size
        self.sampler: FrameSampler = sampler or UniformMidpoints()
        self.train_sampler: FrameSampler = train_sampler or RandomSegment()
        self.given_shapes = shapes or []
        self._stored_frames: int | None = None
        self.windows_per_video = windows_per_video
        square = _USUAL_SIDE if image_size is None else image_size
        height, width = (square, square) if isinstance(square, int) else square
        self.differs: dict[str, str] = {}
        """Settings that were given otherwise than the model was made for, and what it was made for."""
        self.settings = ClipSettings((height, width), on_error=on_error, decoder=decoder, truncated=truncated)
        if clip_frames is not None:
            self.settings = replace(self.settings, clip_frames=clip_frames)
        self.decode_processes, self.decode_deadline_s = decode_processes, decode_deadline_s
        self.remote_cache, self.clip_store = remote_cache, clip_store
        self.num_workers, self.prefetch_factor, self.pin_memory = num_workers, prefetch_factor, pin_memory
        self.max_skip_fraction, self.seed = max_skip_fraction, own_or_run_seed(seed)
        self.done_ids: Collection[str] = ()
        """Sample ids to leave out of `predict`; the cache stage sets it to what is in the store already."""
        self.list_shard: ListShard | None = None
        """What `predict` takes of its samples; None for all. The cache stage sets it to the shard that it makes."""
        self.store: FeatureStore | None = None
        self.ledger: SkipLedger | None = None
        self._skipped_earlier = b""
        self._rows: dict[str, RowTable] = {}
        self._samples: TrainingSamples | None = None
        self._loaders: list[VideoLoader] = []
        require_possible(self)
        require_consistent(self)
        threads = threads_for(decode_processes * max(1, num_workers))
        self._pool = DecodePool(
            decode_processes,
            decode_deadline_s,
            decoder,
            remote_cache=remote_cache,
            threads=threads,
            setting="data.decode_deadline_s",
        )

    @property
    def sampler_is_given(self) -> bool:
        """Whether the settings name a sampler for validation, test and prediction."""
        return "sampler" in self.given

    def rows(self, split: Split) -> RowTable:
        """Rows of a split, read at the first call. Raises ConfigError if it is not set, ManifestError if it is bad."""
        if split not in self._rows:
            check = self._checks.of_rows(split, self.shapes, self.sampler)
            skip, has_cache = self.settings.on_error == "skip", self.remote_cache is not None
            self._rows[split] = read_split(split, self.sources[split], check, skip, has_cache)
        return self._rows[split]

    @property
    def _checks(self) -> StageChecks:
        return StageChecks(None if self.trainer is None else self.trainer.lightning_module)

    def leave_out(self, row: dict[str, Any], error: DataError) -> None:
        """Lists a row that a stage could not use as skipped; with `on_error="error"`, raises `error`."""
        if self.settings.on_error == "error":
            raise error if row["path"] in str(error) else DataError(f"{row['path']} (id {row['id']}): {error}")
        if self.ledger is not None:
            self.ledger.record(row["path"], row["id"], f"{type(error).__name__}: {error}")

    def check_rows(self, split: Split, check: RowCheck) -> None:
        """Asks of every row of a split what could not be asked when it was read, before any video is.

        Rows that `check` refuses are skipped and listed; with `on_error="error"`, the first raises ManifestError.
        """
        rows = self.rows(split)
        refused = [rows[index] for index in mark_refused(rows, check, skip=self.settings.on_error == "skip")]
        if self.ledger is not None and refused:
            skips = [Skipped(row.path, row.id, row.error or "") for row in refused]
            self.ledger.expect(skips, write=self.trainer is None or self.trainer.is_global_zero)

    @property
    def waited_s(self) -> float | None:
        """Seconds that this process has waited for batches of its loaders; None before there is one."""
        return sum(loader.waited_s for loader in self._loaders) if self._loaders else None

    @property
    def shapes(self) -> list[BatchShape]:
        """Kinds of training batches, each with its sampler."""
        shapes = self.given_shapes or [BatchShape(self._stored_frames or self.frames, self.batch_size)]
        return [replace(shape, sampler=shape.sampler or self.train_sampler) for shape in shapes]

    def follow(self, spec: FrameSpec, source: str) -> ClipSettings:
        """The settings, from now on those of `spec` where they were not given.

        A setting that was given otherwise stays, and so do more frames than the model was trained on. That is said on
        stderr, and kept in `differs`.

        Args:
            spec: the frames that a model was made for, or that a feature store holds.
            source: folder or hub id of it, for messages.
        """
        followed = follow(spec, self.settings, self.sampler, self.frames, self.given)
        for difference in followed.differences:
            if difference.name not in self.differs and self._ranks()[0] == 0:
                print(difference.message(source), file=sys.stderr)
            self.differs[difference.name] = difference.made_for
        self.sampler = followed.sampler
        if followed.settings != self.settings:
            self.settings = followed.settings
            require_batches_fit(self)
        return self.settings

    def setup(self, stage: str) -> None:
        """Reads the manifests of the stage, opens the feature store, and starts the list of skips."""
        verb, wanted = TrainerFn(stage).value, [split for split in SPLITS_OF_VERB[stage] if self.sources[split]]
        key = read_key(self.store_path) if stage == "fit" and self.store_path else None
        require_used(self, verb, self._checks.stage, key)
        if self.clip_store is not None:
            self.clip_store.prepare()
        if stage == "fit" and self.sources["val"] and (line := said_of_training(self)):
            rank_zero_only(print)(line)
        if key is not None:
            self.follow_store(key)
            self.store = open_store(str(self.store_path), self.settings, self.store_root, self.store_cache)
        tables = [self.rows(split) for split in wanted]
        if self.trainer is None:
            return
        if {*wanted} == {"train", "val"} and self.trainer.is_global_zero and (shared := said_of_shared(*tables)):
            print(shared, file=sys.stderr)
        store = self.store if stage == "fit" else None
        self.ledger, self._skipped_earlier = open_ledger(self.trainer, verb, tables, store, self.max_skip_fraction)
        if "train" in wanted and self.trainer.is_global_zero:
            path, keep = Path(self.trainer.default_root_dir) / "sources.json", not writes_nothing(self.trainer)
            report_sources(path, self.sources["train"], self._training().samples.mixture, keep)

    def follow_store(self, key: StoreKey) -> ClipSettings:
        """As `follow`, with a feature store; what was given otherwise is refused where that is opened.

        Training takes the store's frames a video; validation keeps the `frames` that were given.
        """
        stored = frames_of_store(key)
        self._stored_frames = stored.most_frames
        if self._stored_frames is not None and "frames" not in self.given:
            self.frames = self._stored_frames
        refused = {name: None for name in ("image_size", "clip_frames") if name in self.given}
        return self.follow(replace(stored, most_frames=None, **refused), str(self.store_path))

    def train_dataloader(self) -> VideoLoader:
        """Training batches from the trainer's count of batches done; see `TrainBatchSampler`."""
        training, check = self._training(), self._checks.of_samples("train", self.settings.image_size)
        dataset = training.dataset(self._pool, self.settings, check, self.clip_store, self._checks.timed)
        batches = training.batches()
        if self.trainer is not None and (total := batches_of_run(self.trainer, len(batches))) is not None:
            every = validates_every(self.trainer) if self.sources["val"] else None
            for line in said_of_steps(self.shapes, total, every):
                rank_zero_only(print)(line, file=sys.stderr)
        return self._loader(dataset, batches, self.ledger, position=lambda: batches_done(self.trainer))

    def val_dataloader(self) -> VideoLoader | list[VideoLoader]:
        """Each validation sample exactly once over all ranks; none while fitting where `val` is not set.

        Several ranks get equally many batches, because they wait for each other in each step where weights are shared
        out, or buffers kept equal: one with fewer, or with a batch of skips only, gets a blank sample
        (`valid_frames_B` 0) instead.
        """
        if not self.sources["val"] and is_fitting(self.trainer):
            return []
        several = self._ranks()[1] > 1
        return self.loader("val", ledger=self.ledger, drop_empty=not several, in_step=several)

    def test_dataloader(self) -> VideoLoader:
        """Each test sample exactly once over all ranks."""
        return self.loader("test", ledger=self.ledger, drop_empty=True)

    def predict_dataloader(self) -> VideoLoader:
        """Each window of each video exactly once over all ranks, without those of `done_ids`.

        Batches of skips only come too, without `frames_BTCHW`, so that a stage hears of every sample.
        """
        return self.loader("predict", ledger=self.ledger, windows=self.windows_per_video)

    def predict_ids(self) -> list[str]:
        """Ids of all samples of `predict`, done or not, in order."""
        return [name for row_id in self.rows("predict").ids() for name in self.window_ids(row_id)]

    def shard_ids(self) -> list[str]:
        """Of `predict_ids`, those of `list_shard`."""
        ids = self.predict_ids()
        return ids if self.list_shard is None else [ids[i] for i in self.list_shard.samples(len(ids), self.batch_size)]

    def window_ids(self, row_id: str) -> list[str]:
        """Ids of the samples that `predict` takes of a row."""
        return window_ids(row_id, self.windows_per_video)

    def loader(
        self,
        split: Split | Sequence[VideoRow],
        frames: int | None = None,
        batch_size: int | None = None,
        sampler: FrameSampler | None = None,
        ledger: SkipLedger | None = None,
        drop_empty: bool = False,
        windows: int = 1,
        in_step: bool = False,
    ) -> VideoLoader:
        """Batches of a split or of given rows, once and in order, with or without a trainer.

        A batch of skips only has no `frames_BTCHW`.

        Args:
            split: name of a split, or rows.
            frames, batch_size, sampler: in place of the data module's own.
            ledger: takes the skips; without one they are only in each batch's `skipped`.
            drop_empty: leave out batches of skips only.
            windows: samples of each video.
            in_step: all ranks get equally many batches, of blank samples where there are no others.
        """
        name, rows = (split, self.rows(split)) if isinstance(split, str) else (None, split)
        check = self._checks.of_samples(name, self.settings.image_size)
        samplers = [sampler or self.sampler]
        how: dict[str, Any] = {"blank_batches": in_step, "check": check, "timed": self._checks.timed}
        dataset = VideoDataset(rows, samplers, self._pool, self.settings, windows, clips=self.clip_store, **how)
        size = (frames or self.frames, batch_size or self.batch_size)
        # Asked for when the batches are, because a stage sets `done_ids` after the loader is made.
        done = (lambda: dataset.indices_of(self.done_ids)) if name == "predict" else None
        shard = self.list_shard if name == "predict" else None
        part = shard.samples(len(dataset), size[1]) if shard is not None else None
        kind: dict[str, Any] = {"done": done, "in_step": in_step, "part": part}
        batches = SequentialRequests(len(dataset), *size, self.seed, *self._ranks(), **kind)
        return self._loader(dataset, batches, ledger, drop_empty)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """The batch on the device: by Lightning's own way, but for the rows, whose every word that would look at."""
        to_device = super().transfer_batch_to_device
        if not isinstance(batch, dict):
            return to_device(batch, device, dataloader_idx)
        rows = {name: value for name, value in batch.items() if name in _WORDS}
        rest = {name: value for name, value in batch.items() if name not in _WORDS}
        return {**to_device(rest, device, dataloader_idx), **rows}

    def state_dict(self) -> dict[str, Any]:
        """What the order of the training data depends on, so that a checkpoint is not resumed on other data."""
        return self._training().state_dict() if is_fitting(self.trainer) else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on with the samples of the checkpoint; see `TrainingSamples`.

        Raises:
            ConfigError: training would go on with other data than the checkpoint's; names what differs.
        """
        if state_dict.get("training_data") is None or not is_fitting(self.trainer):
            return
        assert self.trainer is not None
        if self.ledger is not None:
            self.ledger.go_on(self._skipped_earlier, write=self.trainer.is_global_zero)
            self._skipped_earlier = b""
        self._samples = self._training().going_on(state_dict)
        for loader in self._loaders:  # where a strategy loads checkpoints after it asked for the loader
            loader.go_on_with(self._samples)
        if self.trainer.is_global_zero:
            report_changes(self._samples, self._training().id_at)

    def teardown(self, stage: str) -> None:
        """Ends loader workers and decode processes."""
        for loader in self._loaders:
            loader.close()
        self._loaders.clear()
        self._pool.close()

    def _ranks(self) -> tuple[int, int]:
        return ranks_of(self.trainer)

    def _training(self) -> TrainingData:
        source = self.rows("train") if self.store is None else self.store
        weights = [source.weight for source in self.sources["train"]]
        if self._samples is None:
            self._samples = samples_of(source, weights)
        return TrainingData(self._samples, source, weights, self.shapes, self.seed, *self._ranks())

    def order(self) -> dict[str, Any]:
        """What all ranks have to read alike: the rows of each split, and what the order of training follows from."""
        read: dict[str, Any] = {
            split: f"{len(rows)} rows of sha256 {rows.sha256[:12]}" for split, rows in self._rows.items()
        }
        if is_fitting(self.trainer) and ("train" in read or self.store is not None):
            read["training"] = self._training().state_dict()["training_data"]
        return read

    def trained_frames(self) -> FrameSpec:
        """The frames that training is on, for the record of what comes of it; a sampler only if all shapes share it."""
        return trained_frames(self.shapes, self.store, self.settings)

    def describe_training(self) -> dict[str, Any]:
        """Settings of the training data in plain values, without names of files."""
        return self._training().record(self.differs)

    def _loader(
        self,
        dataset: VideoDataset,
        batches: TrainBatchSampler | SequentialRequests,
        ledger: SkipLedger | None,
        drop_empty: bool = False,
        position: Callable[[], int] | None = None,
    ) -> VideoLoader:
        workers = (self.num_workers, self.prefetch_factor, self.pin_memory)
        loader = VideoLoader(dataset, batches, *workers, ledger, drop_empty, position)
        self._loaders.append(loader)
        return loader
