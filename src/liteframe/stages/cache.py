"""Caching stage: the frozen teacher reads every sample once, WAP compresses, the feature store keeps the targets."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from liteframe.data.datamodule import VideoDataModule
from liteframe.data.decoding.video_file import fault_of
from liteframe.data.remote.file import is_url
from liteframe.data.sources.manifest import VideoRow
from liteframe.data.store.catalogue import listed_shards, rekey
from liteframe.data.store.feature_store import StoreKey, data_digest, estimate, is_complete, read_key
from liteframe.data.store.files import INDEX_FILE
from liteframe.data.store.folder import require_writable, stored_key
from liteframe.data.store.list_shard import (
    ListShard,
    ShardRecord,
    require_none_made,
    require_not_merging,
    require_same_count,
)
from liteframe.data.store.videos import difference, folder_of_sources, video_facts
from liteframe.data.store.writer import FeatureStoreWriter, SampleRefused, finalize
from liteframe.data.transforms import describe_geometry
from liteframe.errors import ConfigError, StoreMismatch
from liteframe.models.backbone import WAP, VisionTokens
from liteframe.models.teachers import Teacher, TeacherSource
from liteframe.stages.distributed import barrier, broadcast
from liteframe.stages.following import follow_frames
from liteframe.stages.pictures import log_picture, wap_picture
from liteframe.stages.teaching import (
    Saliency,
    Similarity,
    Target,
    check_teacher,
    described_as_in,
    report_stills,
    target_maker,
    teacher_frames,
    teacher_source,
)
from liteframe.stages.wap_report import report_effective_tokens
from liteframe.system.run_lock import RunLock

_ESTIMATE_BATCHES = 4
_PART = "part"
"""What a row says of its video, in the record of its sample: start, end and decoder."""


class CacheStage(LightningModule):
    """Writes the compressed features of a teacher: `liteframe predict --config cache.yaml`.

    Args:
        teacher: folder or hub id of an InternVL, or another teacher by `class_path`: LlavaOnevision,
            Qwen3VL, QwenVL, Siglip, TimmViT, VJEPA2, VideoPrism.
        store: folder to write to; one that is there already is resumed if it was made with the same settings.
        block: frames, rows and columns of the teacher's tokens that become one target; null for 4 frames and 2 x 2
            patches, in tokens of this teacher. How much CTD's student compresses follows from it.
        similarity: of a token and the class token of its frame, "dot" or "cosine".
        scale: factor before WAP's softmax; null is 1/sqrt(channels) for "dot".
        saliency: "class_token"; or what stands in for it: "mean_token", "attention_pool" or "norm", see `WAP`.
        target: "wap"; "average" or "max" pooling over the same blocks; or "dense", every token as it is.
        attention: attention implementation of the teacher, "eager" or "sdpa"; null is its library's choice.
        dtype: of the stored targets.
        store_frames: keep the decoded frames beside the targets, so that CTD decodes nothing.
        shard_mb: size at which a shard is cut, in megabytes.
        estimate: only say how many gigabytes and hours the store would take.
        shard: "i/n" for the i-th of n shards of the list, counted from 0; `liteframe merge` finishes the store when all
            have been made. Null makes all of it.
    """

    outputs = ("store",)

    def __init__(
        self,
        teacher: str | TeacherSource,
        store: str,
        block: tuple[int, int, int] | None = None,
        similarity: Similarity = "dot",
        scale: float | None = None,
        saliency: Saliency = "class_token",
        target: Target = "wap",
        attention: str | None = None,
        dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16",
        store_frames: bool = False,
        shard_mb: float = 256,
        estimate: bool = False,
        shard: str | None = None,
    ) -> None:
        super().__init__()
        self.source, self.folder, self.attention = teacher, Path(store), attention
        self._teacher_source = teacher_source(teacher)
        self.compressor = target_maker(target, teacher, block, similarity, scale, saliency)
        self.target_dtype = dtype
        self.store_frames, self.shard_mb, self.only_estimate = store_frames, shard_mb, estimate
        self.list_shard = None if shard is None else ListShard.parse(shard)
        self._lock: RunLock | None = None
        self.teacher: Teacher | None = None
        self._writer: FeatureStoreWriter | None = None
        self._seconds: list[float] = []
        self._wap_is_told = False
        self._shape: tuple[int, ...] | None = None
        self._key: StoreKey | None = None
        self._pictured = False
        self._list_folder: str | None = None

    def prepare_data(self) -> None:
        """Looks whether the store can be written, and for the teacher, before anything is loaded."""
        if self._makes_a_store:
            require_writable(self.folder)
        self._teacher_source.geometry()

    def setup(self, stage: str) -> None:
        if self.only_estimate:
            self.trainer.limit_predict_batches = _ESTIMATE_BATCHES

    def configure_callbacks(self) -> list[Callback]:
        return [_Unlock()]

    def configure_model(self) -> None:
        """Loads the teacher and opens the store: before the loader is made, which leaves out what the store has."""
        self._data.list_shard = self.list_shard
        if self.teacher is None:
            self.teacher = self._teacher_source.load(self.attention)
            follow_frames(self, teacher_frames(self.teacher, self.compressor), self._teacher_source.source)
            settings = self._data.settings
            check_teacher(
                self.teacher, self._teacher_source, self.compressor, settings.image_size, settings.clip_frames
            )
            report_stills(self.teacher, self._teacher_source, self._data)
        if self._writer is None and self._makes_a_store:
            self._open_store()

    @property
    def _makes_a_store(self) -> bool:
        return not (self.only_estimate or self.trainer.fast_dev_run)  # type: ignore[attr-defined]

    @property
    def _frames_per_target(self) -> int:
        assert self.teacher is not None
        return self.teacher.geometry.cell(self.compressor.block)[0]

    @property
    def _data(self) -> VideoDataModule:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, VideoDataModule):
            raise ConfigError("the cache stage needs a VideoDataModule")
        return data

    def store_key(self) -> StoreKey:
        """What the store depends on: teacher weights, WAP, geometry, sampling, decoder, and the samples themselves."""
        assert self.teacher is not None
        data = self._data
        return StoreKey(
            teacher=self.teacher.describe() | {"precision": str(self.trainer.precision)},
            compressor=self.compressor.describe(),
            geometry=describe_geometry(data.settings.image_size) | self.teacher.geometry.describe(),
            sampling={
                "sampler": data.sampler.describe(),
                "frames": data.frames,
                "windows": data.windows_per_video,
                "seed": data.seed if data.sampler.random else None,
                # stores of before this setting are of whole videos, too
                **({} if data.settings.truncated == "error" else {"truncated": data.settings.truncated}),
            },
            decoder=data.settings.decoder,
            dtype=self.target_dtype,
            clip_frames=data.settings.clip_frames,
            data=data_digest(self._identities(lambda row: row.path if is_url(row.path) else None)),
            frames=self.store_frames,
        )

    def _identities(self, place: Callable[[VideoRow], str | None]) -> list[str]:
        """What each sample is: its id, the part of its file, and a decoder of its own.

        Files may move, so they are told by their content, see `video_facts`; `place` adds where they are.
        """
        return [
            json.dumps([name, place(row), *_part_of(row)], default=repr)
            for row in self._data.rows("predict")
            for name in self._data.window_ids(row.id)
        ]

    def _open_store(self) -> None:
        self._key = key = self._as_stored(self.store_key())
        self._list_folder = folder_of_sources(self._data.sources["predict"])
        if broadcast(self._is_finished(key) if self.global_rank == 0 else False):
            self._data.done_ids = {*self._data.predict_ids()}
            return
        if self.global_rank == 0:
            self._claim(key)
            self._open_writer(key)
        barrier()
        if self.global_rank != 0:
            self._open_writer(key)
        assert self._writer is not None
        # One rank says what is done, so that all share out the same rest.
        done = self._writer.done() if self.global_rank == 0 else {}
        changed, self._data.done_ids = broadcast((self._changed_video(done), {*done}))
        if changed:
            raise StoreMismatch(
                f"{self.folder}: {changed}; put the file or the list back, or make the store anew in another folder"
            )
        if {*self._data.shard_ids()} <= {*self._data.done_ids}:
            self._finish()  # now, as the loop of Lightning does not begin without a batch

    def _is_finished(self, key: StoreKey) -> bool:
        """Whether this run is of a shard of a list whose store is finished."""
        if self.list_shard is None or not is_complete(self.folder):
            return False
        read_key(self.folder).require(key, str(self.folder))
        print(f"{self.folder}: finished already, so there is nothing to do for shard {self.list_shard}")
        return True

    def _claim(self, key: StoreKey) -> None:
        """Makes sure that nobody else makes what this run will."""
        if self.list_shard is None:
            require_none_made(self.folder)
            self._go_on_with_list(key)
            return
        stored = stored_key(self.folder)
        if stored is not None:
            stored.require(key, str(self.folder))
        require_same_count(self.folder, self.list_shard)
        self._lock = self.list_shard.lock(self.folder).__enter__()
        require_not_merging(self.folder)
        self.list_shard.record_path(self.folder).unlink(missing_ok=True)  # until it is made again

    def unlock(self) -> None:
        """Lets others make the shard of this run."""
        if self._lock is not None:
            self._lock.__exit__()
        self._lock = None

    def _as_stored(self, key: StoreKey) -> StoreKey:
        """The key as the store that is there has it: with what it knows of the teacher's config, and with the data as
        older versions named them, by absolute paths.
        """
        stored = stored_key(self.folder)
        if stored is None:
            return key
        key = replace(key, teacher=described_as_in(stored, key.teacher))
        if stored.data != key.data:
            by_path = data_digest(self._identities(lambda row: row.path))
            return replace(key, data=by_path) if by_path == stored.data else key
        return key

    def _go_on_with_list(self, key: StoreKey) -> None:
        """Takes an unfinished store for the list of now, where rows were taken out of it, or put in."""
        stored = stored_key(self.folder)
        if stored is None or stored == key or replace(stored, data=key.data) != key:
            return
        if (self.folder / INDEX_FILE).exists():
            return
        entries = [entry for shard in listed_shards(self.folder, stored) for entry in shard.entries]
        records = {entry.sample_id: entry.record for entry in entries}
        wanted = {*self._data.predict_ids()}
        kept = records.keys() & wanted
        if 2 * len(kept) < len(records) or any(_PART not in records[name] for name in kept):
            return
        rekey(self.folder, stored, key)
        gone = f"{len(records) - len(kept)} of its {len(records)} samples are not in it any more, and are left out"
        print(f"{self.folder}: goes on with a list that has changed; {gone}", file=sys.stderr)

    def _changed_video(self, done: Mapping[str, Mapping[str, Any]]) -> str | None:
        """In words, the first sample of the store that is another now; a file that is not there does not count."""
        for row in self._data.rows("predict") if done else []:
            for name in self._data.window_ids(row.id):
                if name not in done:
                    continue
                if done[name].get(_PART, _part_of(row)) != _part_of(row):
                    return (
                        f"sample {name!r} was made of another part of its video than {row.place or row.path} says now"
                    )
                if fault_of(row.path):
                    continue
                if odd := difference(done[name], row.path):
                    return f"sample {name!r} was made of another file than {row.path} is now: {odd}"
        return None

    def _open_writer(self, key: StoreKey) -> None:
        self._writer = FeatureStoreWriter(
            self.folder,
            key,
            rank=self.global_rank,
            world_size=self.trainer.world_size,
            shard_mb=self.shard_mb,
            dtype=getattr(torch, self.target_dtype),
            store_frames=self.store_frames,
            list_shard=self.list_shard,
        )

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Encodes and compresses one batch and hands it to the writer; returns nothing, so nothing piles up."""
        if "frames_BTCHW" not in batch:
            return  # all of it was skipped, and is in the ledger
        assert self.teacher is not None
        started = time.monotonic()
        vision = self.teacher(batch["frames_BTCHW"])
        targets_BTHWC = self.compressor(vision)
        if isinstance(self.compressor, WAP) and not self._wap_is_told:
            groups_T = torch.arange(targets_BTHWC.shape[1], device=self.device) * self._frames_per_target
            report_effective_tokens(self.compressor, vision, groups_T < batch["valid_frames_B"][:, None])
            self._wap_is_told = True
        if self.only_estimate:
            self._shape = tuple(targets_BTHWC.shape[1:])
            loading = (sum(batch["decode_s"]) + sum(batch["resize_s"])) / max(1, self._data.num_workers)
            if targets_BTHWC.is_cuda:
                torch.cuda.synchronize()
            self._seconds.append((time.monotonic() - started + loading) / len(targets_BTHWC))
            return
        self._log_picture(batch, vision)
        if self._writer is not None:  # there is none in a trial
            self._write(self._writer, batch, targets_BTHWC)

    def _write(self, writer: FeatureStoreWriter, batch: dict[str, Any], targets_BTHWC: torch.Tensor) -> None:
        frames_BTCHW = batch["frames_BTCHW"] if self.store_frames else None
        for i, (sample_id, row) in enumerate(zip(batch["sample_ids"], batch["rows"], strict=True)):
            valid = int(batch["valid_frames_B"][i])
            length = valid + -valid % self._frames_per_target
            entry = {
                "path": row["path"],
                "frame_indices": batch["frame_indices_BT"][i, :length].tolist(),
                "valid_frames": valid,
                "order": batch["sample_indices"][i],
                "decoder": batch["decoders"][i],
                _PART: _part(row["start"], row["end"], row.get("decoder")),
            }
            targets_THWC = targets_BTHWC[i, : length // self._frames_per_target]
            try:
                entry |= self._video_facts(row["path"])
                writer.add(sample_id, targets_THWC, entry, None if frames_BTCHW is None else frames_BTCHW[i, :length])
            except SampleRefused as error:
                if self._data.settings.on_error == "error" or self._data.ledger is None:
                    raise
                self._data.ledger.record(row["path"], row["id"], f"{type(error).__name__}: {error}")

    def _video_facts(self, path: str) -> dict[str, Any]:
        try:
            return video_facts(path, self._list_folder)
        except OSError as error:
            raise SampleRefused(f"{path}: cannot be read any more ({error.strerror or error})") from error

    def save_progress(self) -> None:
        """Puts on disk what has gathered so far, from where the next run goes on; between two batches."""
        if self._writer is not None:
            self._writer.flush()

    def on_predict_end(self) -> None:
        if self.only_estimate:
            self._print_estimate()
        self._finish()

    def _finish(self) -> None:
        """Completes the store, or the shard of the list."""
        if self._writer is None or self._key is None:
            return
        barrier()
        ids = self._data.shard_ids()
        skipped = self._note_skips(self._writer, {*ids}) if self.global_rank == 0 else []
        self._writer.close()
        barrier()
        if self.global_rank == 0:
            listed = f"; {len(skipped)} skipped, see skipped.jsonl in the run folder" if skipped else ""
            if self.list_shard is None:
                store = finalize(self.folder, self._key, self.shard_mb, expected_ids=ids)
                print(f"stored {len(store):,} samples in {self.folder}{listed}")
            else:
                self._record_shard(self.list_shard, self._key, ids, skipped)
                print(f"made shard {self.list_shard} of {self.folder}, {len(ids):,} samples{listed}")
        self._writer = None
        self.unlock()
        barrier()

    def _note_skips(self, writer: FeatureStoreWriter, ids: Set[str]) -> list[str]:
        """Hands the writer what was skipped of these samples; the ids of their rows."""
        skipped = []
        for skip in [] if self._data.ledger is None else self._data.ledger.skipped():
            of_skip = [sample_id for sample_id in self._data.window_ids(skip.id) if sample_id in ids]
            for sample_id in of_skip:
                writer.add_skipped({"path": skip.path, "id": sample_id, "reason": skip.reason})
            skipped += [skip.id] if of_skip else []
        return skipped

    def _record_shard(self, shard: ListShard, key: StoreKey, ids: list[str], skipped_rows: list[str]) -> None:
        data = self._data
        ShardRecord(
            shard,
            key.as_dict(),
            samples=len(data.predict_ids()),
            batch_size=data.batch_size,
            rows=len(data.rows("predict")),
            skipped_rows=skipped_rows,
            max_skip_fraction=data.max_skip_fraction,
            shard_mb=self.shard_mb,
            ids=ids,
        ).write(self.folder, key)

    def _log_picture(self, batch: dict[str, Any], vision: VisionTokens) -> None:
        if self._pictured or self.global_rank != 0 or not self.loggers:
            return
        self._pictured = True
        if not isinstance(self.compressor, WAP):
            return
        weights = self.compressor.weights(vision)
        frames = batch["frames_BTCHW"][:, :: batch["frames_BTCHW"].shape[1] // weights.shape[1]]
        for i in range(min(4, len(weights))):
            picture = wap_picture(frames[i, :8], weights[i, :8], self.compressor.block)
            log_picture(self.loggers, f"wap/{i}", picture, 0)

    def _print_estimate(self) -> None:
        """Size from the shapes, time from the few batches that were just run."""
        if self.global_rank != 0:
            return
        if self._shape is None:
            raise ConfigError("no video could be read, so nothing can be estimated; run `liteframe check` on the data")
        clips, *grid, channels = self._shape
        samples = len(self._data.predict_ids())
        seconds = sorted(self._seconds)[len(self._seconds) // 2] / self.trainer.world_size
        frames = self._data.frames * 3 * self._data.settings.image_size[0] * self._data.settings.image_size[1]
        print(estimate(samples, clips, grid, channels, self.target_dtype, seconds, frames if self.store_frames else 0))
        print("Nothing was written. Without --estimate the same command makes the store.")


class _Unlock(Callback):
    """Lets a shard go when its run fails; the process may live on."""

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if isinstance(pl_module, CacheStage):
            pl_module.unlock()


def _part_of(row: VideoRow) -> list[Any]:
    return _part(row.start, row.end, row.extra.get("decoder"))


def _part(start: float | None, end: float | None, decoder: Any) -> list[Any]:
    """What is used of a video; older stores began a part at the first frame after `start`, so theirs are others."""
    return [start, end, decoder] if start is None and end is None else [start, end, decoder, "from the frame on screen"]
