"""CTD, compressed token distillation (paper, section 4.2): the student learns WAP(teacher) straight from pixels."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from liteframe.data.store.feature_store import FeatureStore, StoreKey
from liteframe.errors import ConfigError
from liteframe.models.backbone import WAP
from liteframe.models.folders.training_record import TeacherName, TrainingRecord
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.student.encoder_config import EncoderSettings
from liteframe.models.student.from_teacher import student_fields
from liteframe.models.student.init_from_timm import load_timm_weights
from liteframe.models.teachers import Teacher, TeacherGeometry, TeacherSource
from liteframe.stages.following import follow_frames
from liteframe.stages.loss_terms import LossTerms
from liteframe.stages.losses import NOT_LEARNT, Clip, ctd_loss, fold_statistics_into_head
from liteframe.stages.means import ChannelMoments
from liteframe.stages.pictures import similarity_picture
from liteframe.stages.stage import OptimizerSettings, Stage
from liteframe.stages.target_statistics import TargetStatistics
from liteframe.stages.teaching import (
    Saliency,
    Similarity,
    Target,
    check_teacher,
    report_stills,
    require_target,
    require_teacher,
    target_maker,
    teacher_frames,
    teacher_source,
)
from liteframe.stages.wap_report import report_effective_tokens


class CTDStage(Stage):
    """Trains a `LiteFrameEncoder` on compressed teacher tokens, from a feature store or with the teacher on the fly.

    Args:
        encoder: fields of `LiteFrameConfig` that differ from the paper's, or from what follows: from `block` the
            strides and the clip, and from a teacher that is given by `class_path` patches, width and size too. Several
            configs merge field by field.
        teacher: makes the targets on the fly; not needed with `data.store`. Folder or hub id of an InternVL, or another
            teacher by `class_path`: LlavaOnevision, Qwen3VL, QwenVL, Siglip, TimmViT, VJEPA2, VideoPrism.
        block: frames, rows and columns of the teacher's tokens that become one target; null for 4 frames and 2 x 2
            patches, in tokens of this teacher. The student merges as much, see `place_strides`.
        similarity: of a token and the class token of its frame, "dot" or "cosine".
        scale: factor before WAP's softmax; null is 1/sqrt(channels) for "dot".
        saliency: "class_token"; or what stands in for it: "mean_token", "attention_pool" or "norm", see `WAP`.
        target: "wap"; "average" or "max" pooling over the same blocks; or "dense", every token of the teacher, for a
            plain ViT that compresses nothing.
        attention: attention implementation of the teacher, "eager" or "sdpa"; null is its library's choice.
        target_dtype: on-the-fly targets are rounded to it, as a store's are; null keeps the teacher's.
        standardise: learn targets with mean 0 and deviation 1 in each channel; undone in the head on export. False
            learns them as they are, from a head that begins at their mean. null is true.
        statistics: feature store whose means and deviations by channel are those of on-the-fly targets. By default they
            are of `data.store`, or taken from the first `statistics_batches` before the first step.
        statistics_batches: batches of each rank that on-the-fly targets are measured on.
        clip_sigma: clip residuals that are further than this many deviations from their channel's, see `ctd_loss`, once
            the learning rate has warmed up. Deviations are of the batch of all ranks; of each accumulated batch by
            itself with `accumulate_grad_batches`. Validation clips nothing.
        clip: "drop" leaves clipped elements out, "clamp" keeps them with the gradient of the limit; where `clip_sigma`
            is null, neither.
        terms: weights of what is learnt beside the squared error, see `LossTerms`; none in the paper.
        timm_weights: name of a timm ViT whose pretrained weights the student starts from, or a folder that timm wrote,
            as `ablations/pretrain_timm_vit.yaml` makes a tiny one; null starts from scratch.
        layer_decay: with it, each block of the student learns at this share of the rate of the block behind it, and the
            patch embedding at that of the first: pretrained blocks change less the earlier they are (ELECTRA, BEiT).
            Temporal mixers, strides and head, which no ViT has, keep the rate of the last block.
        checkpoint_encoder: gradient checkpointing of the student, chunk by chunk where `encoder_chunk_clips` is set.
        encoder_chunk_clips: clips of a batch that the student takes at a time; null is all.
        picture_every: steps between pictures in the logger; 0 for none.
        optimizer: see `OptimizerSettings`.
        seed: of the initial weights; by default that of `--seed_everything`, as in every stage.
        out: folder of the exported encoder; by default `export` in the run folder.
    """

    reads_store = True

    def __init__(
        self,
        encoder: EncoderSettings | dict[str, Any] = EncoderSettings(),
        teacher: str | TeacherSource | None = None,
        block: tuple[int, int, int] | None = None,
        similarity: Similarity = "dot",
        scale: float | None = None,
        saliency: Saliency = "class_token",
        target: Target = "wap",
        attention: str | None = None,
        target_dtype: Literal["bfloat16", "float16", "float32"] | None = None,
        standardise: bool | None = None,
        statistics: str | None = None,
        statistics_batches: int = 16,
        clip_sigma: float | None = 3.0,
        clip: Clip = "drop",
        terms: LossTerms = LossTerms(),
        timm_weights: str | None = None,
        layer_decay: float | None = None,
        checkpoint_encoder: bool = False,
        encoder_chunk_clips: int | None = None,
        picture_every: int = 500,
        optimizer: OptimizerSettings = OptimizerSettings(),
        seed: int | None = None,
        out: str | None = None,
    ) -> None:
        super().__init__(optimizer, seed, out)
        self.compressor = target_maker(target, teacher, block, similarity, scale, saliency)
        given = encoder.given() if isinstance(encoder, EncoderSettings) else encoder
        self.encoder_config = encoder_config(student_fields(teacher, self.compressor, given))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.encoder = LiteFrameEncoder(self.encoder_config)
        self.encoder.save_memory(encoder_chunk_clips, checkpoint_encoder)
        self.source, self.attention = teacher, attention
        self._teacher_source = None if teacher is None else teacher_source(teacher)
        self.target_dtype = target_dtype
        self.statistics_source = statistics
        if statistics_batches < 1:
            raise ConfigError(f"model.statistics_batches is {statistics_batches}; give 1 or more")
        self.statistics_batches = statistics_batches
        self.target_statistics = TargetStatistics(self.encoder_config.output_size, standardise)
        self._share_done: Callable[[], float] | None = None
        if clip_sigma is not None and clip_sigma <= 1:
            raise ConfigError(f"model.clip_sigma is {clip_sigma}; it must be above 1, or null for no clipping")
        self.clip_sigma, self.clip, self.terms = clip_sigma, clip, terms
        self.timm_weights, self.picture_every = timm_weights, picture_every
        if layer_decay is not None and not 0 < layer_decay <= 1:
            raise ConfigError(f"model.layer_decay is {layer_decay}; it must be above 0 and at most 1, or null")
        self.layer_decay = layer_decay
        self.teacher: Teacher | None = None
        self._wap_is_told = False

    def module_lrs(self) -> dict[str, float]:
        if self.layer_decay is None:
            return {}
        rates, lr = {}, self.optimizer_settings.lr
        for depth, block in enumerate(reversed(self.encoder.blocks)):
            name = f"encoder.blocks.{len(self.encoder.blocks) - 1 - depth}"
            rates[name] = lr * self.layer_decay**depth
            mixer: Any = block.temporal
            if mixer is not None and list(mixer.parameters()):
                rates[f"{name}.temporal"] = lr
        return {**rates, "encoder.patch_embedding": lr * self.layer_decay ** len(self.encoder.blocks)}

    def check_sources(self) -> None:
        if self._teacher_source is not None:
            self._teacher_source.geometry()

    def setup(self, stage: str) -> None:
        store = getattr(self.trainer.datamodule, "store", None)  # type: ignore[attr-defined]
        if store is None and self.source is None:
            raise ConfigError("CTD needs targets: set data.store to a feature store, or model.teacher to a teacher")
        if store is not None:
            self._check_store(store)
            self._require_used()
        if self.statistics_source:
            store = FeatureStore.open(self.statistics_source)
            self._check_store(store)
        if store is not None:
            mean_C, std_C = store.statistics
            self.target_statistics.take(mean_C, std_C, getattr(torch, store.key.dtype), given=True)

    def _require_used(self) -> None:
        """Raises ConfigError where a setting of the teacher, or validation, has none to act on."""
        validates = bool(self.trainer.datamodule.sources["val"])  # type: ignore[attr-defined]
        if validates and self.source is None:
            raise ConfigError("data.val is set, and validation videos have no stored targets; set model.teacher too")
        if self.target_dtype is not None and not validates:
            raise ConfigError(
                "model.target_dtype rounds targets made on the fly, those of data.store are; leave it out"
            )
        if self.attention is not None and not validates:
            raise ConfigError("model.attention is the teacher's, which data.store stands for; leave it out")

    def require_targets_of(self, key: StoreKey, source: str) -> None:
        """Raises StoreMismatch where the targets of a feature store were made otherwise than `model` says."""
        require_target(key.compressor, self.compressor, source)
        key.require({"compressor": self.compressor.describe()}, source)

    def _check_store(self, store: FeatureStore) -> None:
        self.require_targets_of(store.key, store.place)
        if self._described is not None:
            require_teacher(store.key, self._described, store.place)
        self._require_fit(self._geometry_of(store), store.place)

    @cached_property
    def _described(self) -> dict[str, Any] | None:
        """What the teacher says of itself; None without one."""
        return None if self._teacher_source is None else self._teacher_source.load().describe()

    def _geometry_of(self, store: FeatureStore) -> TeacherGeometry:
        return TeacherGeometry.of_store(len(store.statistics[0]), store.key.geometry, self.encoder_config.patch_size)

    def _require_fit(self, geometry: TeacherGeometry, source: str) -> None:
        """Raises ConfigError where the student's tokens are not on the grid, or not of the width, of the targets."""
        config = self.encoder_config
        if config.output_size != geometry.width:
            raise ConfigError(
                f"{source}: targets have a width of {geometry.width}, model.encoder.output_size is"
                f" {config.output_size}; set it to {geometry.width}"
            )
        frames, rows, columns = config.stride
        own = (frames, rows * config.patch_size, columns * config.patch_size)
        target = geometry.cell(self.compressor.block)
        if own != target:
            raise ConfigError(
                f"{source}: a target stands for {target} frames, pixels and pixels, a token of model.encoder for {own};"
                " make its patch_size and downsample_strides agree with model.block"
            )

    def configure_model(self) -> None:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        source = self._teacher_source
        if self.teacher is None and source is not None and (data.store is None or data.sources["val"]):
            self.teacher = source.load(self.attention)
            self._require_fit(self.teacher.geometry, source.source)
            if data.store is None:
                follow_frames(self, teacher_frames(self.teacher, self.compressor), source.source)
            settings = data.settings
            check_teacher(self.teacher, source, self.compressor, settings.image_size, settings.clip_frames)
            report_stills(self.teacher, source, data, trains=data.store is None)
        if self.timm_weights is not None and self.trainer.ckpt_path is None:
            load_timm_weights(self.encoder, self.timm_weights, pretrained=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint |= self.target_statistics.to_checkpoint()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.target_statistics.from_checkpoint(checkpoint)

    def on_validation_start(self) -> None:
        statistics = self.target_statistics
        if statistics.is_standardising and not statistics.are_known and not self.trainer.sanity_checking:
            raise ConfigError(
                "model.standardise needs the statistics of the targets: give --ckpt_path, or set model.statistics to a"
                " feature store"
            )

    def on_fit_start(self) -> None:
        super().on_fit_start()
        batches = self.trainer.accumulate_grad_batches
        if self.clip_sigma is not None and batches > 1:
            rank_zero_only(print)(
                f"clip_sigma looks at each of the {batches} accumulated batches by itself; without it, gradients are"
                " those of one batch"
            )
        statistics = self.target_statistics
        if not statistics.are_known:
            statistics.take(*self._measured_statistics(self.statistics_batches * batches))
        if statistics.is_standardising and (flat := int(statistics.raised_C.sum())):
            rank_zero_only(print)(
                f"{flat} of {len(statistics.raised_C)} channels of the targets hardly vary; they are standardised by"
                " more than their deviation, and count for less"
            )
        if not statistics.is_standardising and self.trainer.ckpt_path is None:
            with torch.no_grad():
                self.encoder.head.bias.copy_(statistics.mean_C)

    @torch.no_grad()
    def _measured_statistics(self, batches: int) -> tuple[Tensor, Tensor, torch.dtype]:
        """Mean and deviation of the teacher's targets by channel, over the first batches of all ranks; their dtype."""
        rank_zero_only(print)(f"measuring mean and deviation of the targets on {batches} batches of each rank")
        trainer: Any = self.trainer
        loader, moments = (
            trainer.datamodule.train_dataloader(),
            ChannelMoments(self.encoder_config.output_size, self.device),
        )
        dtype = torch.float32
        for batch in islice(loader, batches):
            batch = trainer.strategy.batch_to_device(batch)
            with trainer.precision_plugin.forward_context():
                targets_BTHWC = self._raw_targets(batch)
            dtype = targets_BTHWC.dtype
            moments.add(targets_BTHWC[self._weights(batch, targets_BTHWC.shape[1]) > 0])
        loader.close()
        return (*moments.over_ranks(), dtype)

    def on_train_start(self) -> None:
        steps = self.trainer.estimated_stepping_batches
        self._share_done = (lambda: self.global_step / steps) if math.isfinite(steps) else self._clock()
        super().on_train_start()

    def _is_warm(self) -> bool:
        """Whether the learning rate has warmed up. Early residuals are large everywhere and are not outliers."""
        if self._share_done is not None and self._share_done() >= self.optimizer_settings.warmup_fraction:
            self._share_done = None
        return self._share_done is None

    def targets(self, batch: dict[str, Any]) -> Tensor:
        """What the student has to give, (B, T', H', W', C): the batch's, or made of the teacher's tokens."""
        return self.target_statistics(self._raw_targets(batch))

    def _raw_targets(self, batch: dict[str, Any]) -> Tensor:
        if "targets_BTHWC" in batch:
            return batch["targets_BTHWC"]
        assert self.teacher is not None
        # As the caching stage computes them: in the trainer's precision, then rounded to the stored dtype.
        vision = self.teacher(batch["frames_BTCHW"])
        raw = self.compressor(vision)
        if isinstance(self.compressor, WAP) and not self._wap_is_told:
            report_effective_tokens(self.compressor, vision, self._weights(batch, raw.shape[1]) > 0)
            self._wap_is_told = True
        return raw if self.target_dtype is None else raw.to(getattr(torch, self.target_dtype))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        student_BTHWC, targets_BTHWC, weight_BT = self._tokens(batch)
        if self.pictures_due(self.picture_every):
            picture = similarity_picture(batch["frames_BTCHW"][0], student_BTHWC[0].detach(), targets_BTHWC[0])
            self.log_picture("ctd/cosine", picture)
        clip_sigma = self.clip_sigma if self.clip_sigma is not None and self._is_warm() else None
        of = self.target_statistics
        loss = ctd_loss(
            student_BTHWC,
            targets_BTHWC,
            weight_BT,
            clip_sigma,
            self.clip,
            of.centre_C,
            of.variance_C,
            self.terms,
        )
        return self.training_loss(loss)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Measures over all elements: which of them `clip_sigma` drops depends on what else is in their batch."""
        if self.teacher is None:
            raise ConfigError("validating CTD needs model.teacher, as validation videos have no stored targets")
        of = self.target_statistics
        loss = ctd_loss(*self._tokens(batch), centre_C=of.centre_C, variance_C=of.variance_C, terms=self.terms)
        self.note_validation(loss)

    def _log_means(self, split: str, means: Mapping[str, Tensor]) -> None:
        """Of the channels, how much is explained of the worst, and how many are not learnt: means of all hide both."""
        scalars = dict(means)
        explained_C = 1 - scalars.pop("unexplained_by_channel", torch.ones(1))
        scalars["explained_variance_worst"] = explained_C.min()
        scalars["channels_not_learnt"] = (explained_C < NOT_LEARNT).sum().float()
        super()._log_means(split, scalars)

    def _tokens(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens of the student, those that it has to give, and which groups of frames count."""
        targets_BTHWC = self.targets(batch)
        groups = targets_BTHWC.shape[1]
        # A store keeps no groups that hold nothing but padding; samples are filled up to whole clips all the same.
        student_BTHWC = self.encoder(batch["frames_BTCHW"]).last_hidden_state[:, :groups]
        return student_BTHWC, targets_BTHWC, self._weights(batch, groups)

    def _weights(self, batch: dict[str, Any], groups: int) -> Tensor:
        """1 for groups of frames that hold some of the video, 0 for those that fill up a clip or a batch: (B, T')."""
        first_frames_T = torch.arange(groups, device=self.device) * self.encoder_config.stride[0]
        return (first_frames_T < batch["valid_frames_B"][:, None]).float()

    def finished_encoder(self) -> LiteFrameEncoder:
        """A copy that gives raw teacher features: the statistics are folded into its head."""
        encoder = copy.deepcopy(self.encoder).cpu().float().eval()
        statistics = self.target_statistics
        if statistics.is_standardising:
            weight, bias = fold_statistics_into_head(
                encoder.head.weight, encoder.head.bias, statistics.mean_C.cpu(), statistics.std_C.cpu()
            )
            encoder.head.weight.data.copy_(weight)
            encoder.head.bias.data.copy_(bias)
        return encoder

    def settings(self) -> dict[str, Any]:
        names = ("target_dtype", "clip_sigma", "clip", "layer_decay")
        start, standardises = self.timm_weights, self.target_statistics.is_standardising
        own = {
            "target": self.compressor.describe(),
            "teacher_class": self._teacher_class(),
            "standardise": standardises,
            "terms": asdict(self.terms),
            "timm_weights": None if start is None else "folder" if os.path.exists(start) else start,
        }
        return super().settings() | own | {name: getattr(self, name) for name in names}

    def _teacher_class(self) -> str | None:
        """Class of the teacher whose features the student learns: the one at hand, or the one that made the store."""
        if self._teacher_source is not None:
            return self._teacher_source.teacher.__name__
        store: FeatureStore | None = getattr(self.trainer.datamodule, "store", None)  # type: ignore[attr-defined]
        return None if store is None else store.key.teacher.get("class")

    def training_record(self) -> TrainingRecord:
        """As `Stage.training_record`, with the teacher that was read on the fly."""
        source = self._teacher_source
        if source is None:
            return super().training_record()
        teacher = TeacherName.seen_from(self._export_folder, type(source).__name__, source.source)
        return replace(super().training_record(), teacher=teacher)

    def export(self, folder: Path) -> None:
        self.finished_encoder().save_pretrained(folder)


def encoder_config(changes: dict[str, Any]) -> LiteFrameConfig:
    """The paper's encoder with some fields changed. Raises ConfigError at a field that it does not have."""
    known = {field.name for field in fields(EncoderSettings)}
    unknown = sorted(set(changes) - known)
    if unknown:
        raise ConfigError(
            f"model.encoder has unknown fields {', '.join(unknown)}; known are {', '.join(sorted(known))}"
        )
    return LiteFrameConfig(**changes)
