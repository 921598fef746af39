"""The one data module: manifests or a feature store in, the batches of every stage out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from lightning.pytorch import LightningDataModule
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.model_helpers import is_overridden

from liteframe.data.decoding.processes.pool import DecodePool
from liteframe.data.decoding.processes.reader_threads import threads_for
from liteframe.data.limits import require_batches_fit, require_possible
from liteframe.data.loading.batching import BatchShape, SequentialRequests, TrainBatchSampler, require_same_data
from liteframe.data.loading.dataset import ClipSettings, SampleCheck, VideoDataset, open_store, window_ids
from liteframe.data.loading.loader import VideoLoader
from liteframe.data.loading.skips import SkipLedger, Skipped, set_aside
from liteframe.data.loading.source_report import report_sources
from liteframe.data.loading.training_samples import (
    TrainingSamples,
    of_all_rows,
    of_contents,
    of_rows,
    report_changes,
    require_ids,
)
from liteframe.data.loading.unused_settings import require_used, said_of_training
from liteframe.data.remote.cache import RemoteCache
from liteframe.data.sampling import FrameSampler, RandomSegment, UniformMidpoints
from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.data.sources.manifest import RowCheck, Sources, VideoRow, as_sources, read_sources
from liteframe.data.sources.row_checks import row_check
from liteframe.data.sources.row_table import IdSet, RowTable, id_keys
from liteframe.data.store.feature_store import FeatureStore, StoreKey, read_key
from liteframe.data.transforms import normalize
from liteframe.errors import ConfigError, DataError, ManifestError
from liteframe.system.run_seed import own_or_run_seed

_FRAMES = _BATCH_SIZE = 8
_USUAL_SIDE = 448
Split = Literal["train", "val", "test", "predict"]
_SPLITS_OF_STAGE: dict[str, tuple[Split, ...]] = {
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
    "predict": ("predict",),
}


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
        store: folder of a feature store; training then reads its entries with their targets, and `train` stays unset.
        store_root: folder that the videos of the store lie in now, where they have moved: it stands for the root of the
            list that the store was made of, or the list's own folder. A store that keeps frames needs no videos.
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
    """

    def __init__(
        self,
        train: Sources | None = None,
        val: Sources | None = None,
        test: Sources | None = None,
        predict: Sources | None = None,
        store: str | None = None,
        store_root: str | None = None,
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
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True
        given = {"train": train, "val": val, "test": test, "predict": predict}
        self.sources = {split: as_sources(sources) if sources else [] for split, sources in given.items()}
        self.store_path, self.store_root = store, store_root
        settings = {"frames": frames, "batch_size": batch_size, "shapes": shapes, "train_sampler": train_sampler}
        self.given = {name for name, value in settings.items() if value is not None}
        """Of the settings whose default depends on others, those that were given."""
        self.frames = _FRAMES if frames is None else frames
        self.batch_size = _BATCH_SIZE if batch_size is None else batch_size
        self.sampler: FrameSampler = sampler or UniformMidpoints()
        self.train_sampler: FrameSampler = train_sampler or RandomSegment()
        if shapes == []:
            raise ConfigError("data.shapes is empty; name at least one shape, or set it to null")
        self.given_shapes = shapes or []
        self._stored_frames: int | None = None
        self.windows_per_video = windows_per_video
        square = _USUAL_SIDE if image_size is None else image_size
        height, width = (square, square) if isinstance(square, int) else square
        given_frames = {"image_size": image_size, "clip_frames": clip_frames, "sampler": sampler}
        self._given_frames = {name for name, value in given_frames.items() if value is not None}
        self.differs: dict[str, str] = {}
        """Settings that were given otherwise than the model was made for, and what it was made for."""
        self.settings = ClipSettings((height, width), on_error=on_error, decoder=decoder, truncated=truncated)
        if clip_frames is not None:
            self.settings = replace(self.settings, clip_frames=clip_frames)
        self.decode_processes, self.decode_deadline_s = decode_processes, decode_deadline_s
        self.remote_cache = remote_cache
        self.num_workers, self.prefetch_factor, self.pin_memory = num_workers, prefetch_factor, pin_memory
        self.max_skip_fraction, self.seed = max_skip_fraction, own_or_run_seed(seed)
        self.done_ids: Collection[str] = ()
        """Sample ids to leave out of `predict`; the cache stage sets it to what is in the store already."""
        self.store: FeatureStore | None = None
        self.ledger: SkipLedger | None = None
        self._skipped_earlier = b""
        self._rows: dict[str, RowTable] = {}
        self._samples: TrainingSamples | None = None
        self._loaders: list[VideoLoader] = []
        require_possible(self)
        self._check_settings()
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
        return "sampler" in self._given_frames

    def _check_settings(self) -> None:
        if not 0 <= self.max_skip_fraction <= 1:
            raise ConfigError(f"data.max_skip_fraction is {self.max_skip_fraction}; give a share from 0 to 1")
        if self.store_path and self.sources["train"]:
            raise ConfigError("data.store and data.train are both set; training reads one of them, so set one to null")
        if self.store_root is not None and not self.store_path:
            raise ConfigError(
                f"data.store_root is {self.store_root}, but data.store is not set; set it too, or neither"
            )
        for split in ("val", "test", "predict"):
            if any(source.weight is not None for source in self.sources[split]):
                raise ConfigError(
                    f"data.{split}: a source has a weight, but only those of data.train are mixed; drop it"
                )
        if self.windows_per_video > 1 and not self.sampler.random:
            raise ConfigError(
                f"data.windows_per_video is {self.windows_per_video}, but data.sampler {type(self.sampler).__name__}"
                " gives the same frames each time; choose RandomSegment, or 1 window"
            )

    def rows(self, split: Split) -> RowTable:
        """Rows of a split, read at the first call. Raises ConfigError if it is not set, ManifestError if it is bad."""
        if not self.sources[split]:
            hint = " (or data.store)" if split == "train" else ""
            raise ConfigError(
                f"data.{split}{hint} is not set; give a list (JSONL, JSON, Parquet) or a folder of videos"
            )
        if split not in self._rows:
            skip = self.settings.on_error == "skip"
            rows = read_sources(self.sources[split], self._row_check(split), keep_unusable=skip)
            if rows.first_url is not None and self.remote_cache is None:
                raise ConfigError(
                    f"data.remote_cache is not set, but data.{split} has videos to be fetched, such as"
                    f" {rows.first_url}; set its folder and gigabytes"
                )
            self._rows[split] = rows
        return self._rows[split]

    def _row_check(self, split: Split) -> RowCheck | None:
        shapes = self.shapes if split == "train" else []
        stage: Any = self.trainer.lightning_module if self.trainer is not None else None
        return row_check(
            [shape.sampler or self.train_sampler for shape in shapes] or [self.sampler],
            getattr(stage, "check_row", None) if self._is_used(split) else None,
            [shape.question_types for shape in shapes] or [None],
        )

    def _is_used(self, split: Split | Sequence[VideoRow]) -> bool:
        """Whether the stage looks at a split: not every one validates."""
        stage: Any = self.trainer.lightning_module if self.trainer is not None else None
        return split != "val" or stage is None or is_overridden("validation_step", stage)

    def _sample_check(self, split: Split | Sequence[VideoRow]) -> SampleCheck | None:
        """What the stage asks of a sample that was read, where it learns from it or validates by it."""
        stage: Any = self.trainer.lightning_module if self.trainer is not None else None
        if split not in ("train", "val") or not self._is_used(split) or not hasattr(stage, "sample_check"):
            return None
        check: SampleCheck | None = stage.sample_check(self.settings.image_size)
        return check

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
        rows, refused = self.rows(split), []
        for index, row in enumerate(rows):
            try:
                if not row.error:
                    check(row.as_dict())
            except DataError as error:
                named = ManifestError(f"{row.place}: {error}" if row.place else str(error))
                if self.settings.on_error == "error":
                    raise named from error
                rows.errors[index] = str(named)
                refused.append(Skipped(row.path, row.id, str(named)))
        if self.ledger is not None and refused:
            self.ledger.expect(refused, write=self.trainer is None or self.trainer.is_global_zero)

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
        size, clip, sampler = spec.image_size, spec.clip_frames, spec.sampler
        if sampler is not None and self._follows("sampler", self.sampler == sampler, self.sampler, sampler, source):
            self.sampler = sampler
        now = self.settings
        if size is not None and self._follows("image_size", now.image_size == size, now.image_size, size, source):
            now = replace(now, image_size=size)
        whole = clip is not None and now.clip_frames % clip == 0
        if clip is not None and self._follows("clip_frames", whole, now.clip_frames, clip, source):
            now = replace(now, clip_frames=clip)
        if now != self.settings:
            self.settings = now
            require_batches_fit(self)
        if spec.most_frames is not None and self.frames > spec.most_frames:
            self._say("frames", str(self.frames), f"at most {spec.most_frames}", source)
        return self.settings

    def _follows(self, name: str, agrees: bool, own: Any, wanted: Any, source: str) -> bool:
        """Whether a setting was not given; one that was, and does not agree, is said once."""
        if name not in self._given_frames:
            return True
        if not agrees:
            self._say(name, _words(own), _words(wanted), source, f"; leave data.{name} out to follow it")
        return False

    def _say(self, name: str, own: str, wanted: str, source: str, advice: str = "") -> None:
        if name not in self.differs and self._ranks()[0] == 0:
            print(f"liteframe: data.{name} is {own}, but {source} was made for {wanted}{advice}", file=sys.stderr)
        self.differs[name] = wanted

    def setup(self, stage: str) -> None:
        """Reads the manifests of the stage, opens the feature store, and starts the list of skips."""
        wanted = [split for split in _SPLITS_OF_STAGE[stage] if self.sources[split]]
        key = read_key(self.store_path) if stage == "fit" and self.store_path else None
        require_used(self, TrainerFn(stage).value, None if self.trainer is None else self.trainer.lightning_module, key)
        if stage == "fit" and self.sources["val"] and (line := said_of_training(self)):
            rank_zero_only(print)(line)
        if key is not None:
            self.follow_store(key)
            if self.store_root is not None and not os.path.isdir(self.store_root):
                raise ConfigError(f"data.store_root {self.store_root}: no such folder; give that of the store's videos")
            self.store = open_store(str(self.store_path), self.settings, self.store_root)
        keys = [self.rows(split).keys_N for split in wanted]
        if self.store is not None and stage == "fit":
            keys.append(id_keys(self.store.sample_ids()))
        if self.trainer is not None:
            folder = Path(self.trainer.default_root_dir)
            known = np.concatenate([np.empty(0, np.int64), *keys])
            self.ledger = self._open_ledger(folder / "skipped.jsonl", TrainerFn(stage), known)
            unusable = [self.rows(split)[index] for split in wanted for index in self.rows(split).errors]
            skips = [Skipped(row.path, row.id, row.error or "") for row in unusable]
            if skips:  # known to every rank, so all of them stop here if they are too many
                self.ledger.expect(skips, write=self.trainer.is_global_zero)
            if "train" in wanted and self.trainer.is_global_zero:
                keep = not _writes_nothing(self.trainer)
                report_sources(folder / "sources.json", self.sources["train"], self._train_samples().mixture, keep)

    def _open_ledger(self, path: Path, stage: TrainerFn, known_N: np.ndarray) -> SkipLedger:
        """The list of skips of this run alone; `load_state_dict` adds that of a fit which it goes on with."""
        trainer: Any = self.trainer
        keep = not _writes_nothing(trainer)
        if keep:  # rank 0 first, so that none writes into a list that is moved
            self._skipped_earlier = trainer.strategy.broadcast(
                set_aside(path, stage.value) if trainer.is_global_zero else b""
            )
        return SkipLedger(path, len(known_N), self.max_skip_fraction, IdSet(known_N), stage.value, keep)

    def follow_store(self, key: StoreKey) -> ClipSettings:
        """As `follow`, with a feature store; what was given otherwise is refused where that is opened.

        Training takes the store's frames a video; validation keeps the `frames` that were given.
        """
        frames = key.sampling.get("frames")
        self._stored_frames = frames if type(frames) is int and frames > 0 else None
        if self._stored_frames is not None and "frames" not in self.given:
            self.frames = self._stored_frames
        given = self._given_frames
        size = None if "image_size" in given else _size_of(key.geometry.get("image_size"))
        return self.follow(FrameSpec(size, None if "clip_frames" in given else key.clip_frames), str(self.store_path))

    def train_dataloader(self) -> VideoLoader:
        """Training batches from the trainer's count of batches done; see `TrainBatchSampler`."""
        samplers = [shape.sampler or self.train_sampler for shape in self.shapes]
        rows = [] if self.store is not None else self.rows("train")
        dataset = VideoDataset(
            rows,
            samplers,
            self._pool,
            self.settings,
            store=self.store,
            question_types=[s.question_types for s in self.shapes],
            blank_batches=True,
            places_N=self._train_samples().places_N,
            check=self._sample_check("train"),
        )
        return self._loader(dataset, self._train_batches(), self.ledger, position=self._batches_done)

    def val_dataloader(self) -> VideoLoader | list[VideoLoader]:
        """Each validation sample exactly once over all ranks; none while fitting where `val` is not set.

        Several ranks get equally many batches, because they wait for each other in each step where weights are shared
        out, or buffers kept equal: one with fewer, or with a batch of skips only, gets a blank sample
        (`valid_frames_B` 0) instead.
        """
        if not self.sources["val"] and self._is_fitting():
            return []
        several = self._ranks()[1] > 1
        return self._sequential("val", ledger=self.ledger, drop_empty=not several, in_step=several)

    def test_dataloader(self) -> VideoLoader:
        """Each test sample exactly once over all ranks."""
        return self._sequential("test", ledger=self.ledger, drop_empty=True)

    def predict_dataloader(self) -> VideoLoader:
        """Each window of each video exactly once over all ranks, without those of `done_ids`.

        Batches of skips only come too, without `frames_BTCHW`, so that a stage hears of every sample.
        """
        return self._sequential("predict", ledger=self.ledger, windows=self.windows_per_video)

    def predict_ids(self) -> list[str]:
        """Ids of all samples of `predict`, done or not, in order."""
        return [name for row_id in self.rows("predict").ids() for name in self.window_ids(row_id)]

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
    ) -> VideoLoader:
        """Batches of a split or of given rows, once and in order, without a trainer.

        Frames are uint8 until `on_after_batch_transfer(batch, 0)` normalises them. A batch of skips only has no
        `frames_BTCHW`.

        Args:
            split: name of a split, or rows.
            frames, batch_size, sampler: in place of the data module's own.
            ledger: takes the skips; without one they are only in each batch's `skipped`.
        """
        return self._sequential(split, frames, batch_size, sampler, ledger)

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Normalises the frames, on the device that they are on now."""
        if "frames_BTCHW" not in batch:
            return batch
        return {**batch, "frames_BTCHW": normalize(batch["frames_BTCHW"])}

    def state_dict(self) -> dict[str, Any]:
        """What the order of the training data depends on, so that a checkpoint is not resumed on other data."""
        if not self._is_fitting():
            return {}
        return {"training_data": self._training_data(), "sample_keys": self._train_samples().state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on with the samples of the checkpoint; see `TrainingSamples`.

        Raises:
            ConfigError: training would go on with other data than the checkpoint's; names what differs.
        """
        before = state_dict.get("training_data")
        if before is None or not self._is_fitting():
            return
        if self.ledger is not None and self.trainer is not None:
            self.ledger.go_on(self._skipped_earlier, write=self.trainer.is_global_zero)
            self._skipped_earlier = b""
        if (keys := state_dict.get("sample_keys")) is not None:
            sizes = [size for size, _ in before["sources"]] if "sources" in before else None
            self._samples = self._train_samples().going_on(keys, sizes)
        else:
            before = self._go_on_with_older(before)
        for loader in self._loaders:  # where a strategy loads checkpoints after it asked for the loader
            loader.go_on_with(self._train_samples())
        require_same_data(before, self._training_data())
        if self.trainer is not None and self.trainer.is_global_zero:
            report_changes(self._train_samples(), self._train_id)

    def _go_on_with_older(self, before: dict[str, Any]) -> dict[str, Any]:
        """What a checkpoint of a version without keys of the samples would say today of the same data."""
        if self.store is None:
            rows = self.rows("train")
            require_ids(before, list(rows.ids()))
            self._samples = of_all_rows(rows, [source.weight for source in self.sources["train"]])
            return before | self._samples.describe()
        require_ids(before, self.store.sample_ids())
        # The frames were the store's then too, whatever `frames` said.
        frames = [shape.frames for shape in self.shapes]
        shapes = [[own, *rest] for own, (_, *rest) in zip(frames, before["shapes"], strict=False)]
        return before | self._train_samples().describe() | {"shapes": shapes}

    def teardown(self, stage: str) -> None:
        """Ends loader workers and decode processes."""
        for loader in self._loaders:
            loader.close()
        self._loaders.clear()
        self._pool.close()

    def _is_fitting(self) -> bool:
        return self.trainer is not None and self.trainer.state.fn == TrainerFn.FITTING

    def _ranks(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def _batches_done(self) -> int:
        """Training batches that have been processed, whatever the accumulation of gradients or cut epochs."""
        if self.trainer is None:
            return 0
        trainer: Any = self.trainer
        progress = trainer.fit_loop.epoch_loop.batch_progress
        # Over-fitting shows the same batches in each epoch.
        return progress.current.completed if trainer.overfit_batches else progress.total.processed

    def _train_id(self, place: int) -> str:
        return self.store.sample_ids()[place] if self.store is not None else self.rows("train").id_of(place)

    def _train_samples(self) -> TrainingSamples:
        if self._samples is None:
            weights = [source.weight for source in self.sources["train"]]
            store = self.store
            self._samples = of_rows(self.rows("train"), weights) if store is None else of_contents(store.contents())
        return self._samples

    def _train_batches(self) -> TrainBatchSampler:
        rank, world_size = self._ranks()
        samples = self._train_samples()
        return TrainBatchSampler(len(samples.keys_N), self.shapes, self.seed, rank, world_size, mixture=samples.mixture)

    def _training_data(self) -> dict[str, Any]:
        return {**self._train_batches().describe(), **self._train_samples().describe()}

    def trained_frames(self) -> FrameSpec:
        """The frames that training is on, for the record of what comes of it; a sampler only if all shapes share it."""
        size, clip = self.settings.image_size, self.settings.clip_frames
        if self.store is not None:
            frames = self.store.key.sampling.get("frames")
            return FrameSpec(size, clip, None, frames if type(frames) is int and frames > 0 else None)
        samplers = [shape.sampler or self.train_sampler for shape in self.shapes]
        shared = samplers[0] if all(sampler == samplers[0] for sampler in samplers) else None
        return FrameSpec(size, clip, shared, max(shape.frames for shape in self.shapes))

    def describe_training(self) -> dict[str, Any]:
        """Settings of the training data in plain values, without names of files."""
        shapes = [
            {"frames": shape.frames, "batch_size": shape.batch_size, "weight": float(shape.weight)}
            | ({} if self.store is not None else _sampler_words(shape.sampler or self.train_sampler))
            for shape in self.shapes
        ]
        return {
            "samples": len(self._train_samples().keys_N),
            "shapes": shapes,
            "seed": self.seed,
            "store": self.store is not None,
            "differs": sorted(self.differs),
        }

    def _sequential(
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
        rows = self.rows(split) if isinstance(split, str) else split
        dataset = VideoDataset(
            rows,
            [sampler or self.sampler],
            self._pool,
            self.settings,
            windows,
            blank_batches=in_step,
            check=self._sample_check(split),
        )

        def done() -> Collection[int]:
            # When it is asked for, because a stage sets `done_ids` after the loader is made.
            if not self.done_ids or split != "predict":
                return ()
            return {index for index in range(len(dataset)) if dataset.sample_id(index) in self.done_ids}

        batches = SequentialRequests(
            len(dataset),
            frames or self.frames,
            batch_size or self.batch_size,
            self.seed,
            *self._ranks(),
            done=done,
            in_step=in_step,
        )
        return self._loader(dataset, batches, ledger, drop_empty)

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


def _writes_nothing(trainer: Any) -> bool:
    """Whether a run is a trial, which leaves its folder as it was."""
    return bool(trainer.fast_dev_run or getattr(trainer.lightning_module, "only_estimate", False))


def _size_of(stored: Any) -> tuple[int, int] | None:
    """The image size in a store's key; None where it has none, or one that is none, which opening the store refuses."""
    sides = stored if isinstance(stored, list) else [stored, stored]
    if len(sides) != 2 or not all(type(side) is int and 1 <= side <= 65_536 for side in sides):
        return None
    return sides[0], sides[1]


def _words(value: Any) -> str:
    """A setting as a user writes it: an image size as height x width, a sampler by its name and settings."""
    return f"{value[0]} x {value[1]}" if isinstance(value, tuple) else str(value)


def _sampler_words(sampler: FrameSampler) -> dict[str, str]:
    """Name of a sampler, and that it chooses by time if it does."""
    by_time = {"by": "time"} if getattr(sampler, "by", None) == "time" else {}
    return {"sampler": type(sampler).__name__, **by_time}
