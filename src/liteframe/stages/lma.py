"""LMA, language model adaptation (paper, section 4.3): encoder and LLM learn from video-text pairs to work together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import PreTrainedModel

from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.data.sources.conversations import turns_of
from liteframe.data.sources.row_checks import RowCheck
from liteframe.errors import ConfigError
from liteframe.models.backbone import WAP, Dense
from liteframe.models.folders.model_folder import whole_folder
from liteframe.models.folders.training_record import TeacherName, TrainingRecord
from liteframe.models.gradient_checkpointing import checkpoint_layers
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.teachers import read_config
from liteframe.models.video_llm.adapted import frames_of, save_adapted
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.hosts import INTERNVL, host_of
from liteframe.models.video_llm.model import LiteFrameBackbone, VideoLLM
from liteframe.models.video_llm.sharding import gather, shard
from liteframe.stages.answers import answer_step, validation_answers
from liteframe.stages.conversation_check import ConversationCheck, context_length, tokens_per_group
from liteframe.stages.following import follow_frames
from liteframe.stages.losses import MeanOver
from liteframe.stages.stage import OptimizerSettings, Stage
from liteframe.stages.teaching import Saliency, Similarity, Target, target_maker

_LINEAR_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass
class LoraSettings:
    """Low-rank adapters on the LLM.

    Args:
        rank: of the adapters.
        alpha: their scale is alpha / rank.
        targets: names of the linear layers that get one.
    """

    rank: int = 16
    alpha: int = 32
    targets: list[str] = field(default_factory=lambda: list(_LINEAR_LAYERS))


class LMAStage(Stage):
    """Trains LoRA on the LLM with the encoder and the projector along, on the answer tokens alone.

    With `data.val` it logs `val/loss` and `val/answer_accuracy`, over all answer tokens of that split.

    Args:
        host: folder or hub id of the base VLM whose LLM is adapted, of any family (an InternVL, ...).
        encoder: folder of the encoder that CTD exported; null is the base VLM's own, which stays as it is (set
            `train_encoder` to false): what the same training does without a student.
        lora: see `LoraSettings`; without `train_llm` it changes nothing.
        train_llm: whether the LLM learns, by its adapters; without, it gets none.
        train_encoder: whether the encoder learns too.
        train_projector: whether the projector learns too.
        llm_lr: learning rate of the LLM's adapters; null is the optimizer's. Of what does not learn, no rate matters.
        encoder_lr: learning rate of the encoder; null is the optimizer's.
        projector_lr: learning rate of the projector; null is the optimizer's.
        checkpoint_llm: gradient checkpointing of the LLM: each layer keeps its input alone for the backward pass.
        checkpoint_encoder: gradient checkpointing of the encoder, chunk by chunk where `encoder_chunk_clips` is set.
        encoder_chunk_clips: clips of a batch that the encoder takes at a time; null is all. With `checkpoint_encoder`,
            what the encoder keeps grows with the frames by the tokens that it gives, and by nothing else.
        attention: attention implementation of the LLM, "eager" or "sdpa"; null is transformers' choice.
        questions_per_video: of a row with several `questions`, how many are asked at a time; null is all.
        mean_over: of the training loss: "tokens" counts every answer token alike, so that long answers count most;
            "videos" every video, whose own tokens share its weight. Validation is over tokens.
        max_length: tokens of a conversation with its video; null is what the LLM takes. A row with more is an error,
            or skipped, as `data.on_error` says.
        truncate: leave out the last questions and answers of such a row instead, as many as it takes.
        target: what the LLM sees of the base VLM's own encoder, as in the caching stage; "dense" is all of its tokens.
            It and the four below are refused with a student.
        block, similarity, scale, saliency: of `target`, see the caching stage.
        optimizer: see `OptimizerSettings`.
        seed: of the adapters' initial weights and of the questions' order.
        out: folder of the export; by default `export` in the run folder.
    """

    shards = True

    def __init__(
        self,
        host: str,
        encoder: str | None,
        lora: LoraSettings = LoraSettings(),
        train_llm: bool = True,
        train_encoder: bool = True,
        train_projector: bool = True,
        llm_lr: float | None = None,
        encoder_lr: float | None = None,
        projector_lr: float | None = None,
        checkpoint_llm: bool = False,
        checkpoint_encoder: bool = False,
        encoder_chunk_clips: int | None = None,
        attention: str | None = None,
        questions_per_video: int | None = None,
        mean_over: MeanOver = "tokens",
        max_length: int | None = None,
        truncate: bool = False,
        target: Target = "dense",
        block: tuple[int, int, int] | None = None,
        similarity: Similarity = "dot",
        scale: float | None = None,
        saliency: Saliency = "class_token",
        optimizer: OptimizerSettings = OptimizerSettings(),
        seed: int | None = None,
        out: str | None = None,
    ) -> None:
        super().__init__(optimizer, seed, out)
        self.host_source, self.encoder_source, self.lora = host, encoder, lora
        self._of_target: dict[str, tuple[Any, Any]] = {
            "target": (target, "dense"),
            "block": (block, None),
            "similarity": (similarity, "dot"),
            "scale": (scale, None),
            "saliency": (saliency, "class_token"),
        }
        own = encoder is None
        self.compressor = target_maker(target, host, block, similarity, scale, saliency) if own else Dense()
        self.train_llm, self.train_encoder, self.train_projector = train_llm, train_encoder, train_projector
        self.llm_lr, self.encoder_lr, self.projector_lr = llm_lr, encoder_lr, projector_lr
        self.checkpoint_llm, self.checkpoint_encoder = checkpoint_llm, checkpoint_encoder
        self.encoder_chunk_clips = encoder_chunk_clips
        self.attention, self.questions_per_video = attention, questions_per_video
        self.mean_over, self.max_length, self.truncate = mean_over, max_length, truncate
        self.model: VideoLLM | None = None

    @property
    def encoder_folder(self) -> Path:
        """Of the encoder on this machine; a copy where it lies at an address."""
        assert self.encoder_source is not None
        return Path(whole_folder(self.encoder_source))

    def check_sources(self) -> None:
        config = read_config(self.host_source)
        family = host_of(config, self.host_source)
        family.require_readable(config, self.host_source)
        if self.encoder_source is None:
            self._check_own_encoder()
            return
        if idle := [name for name, (value, usual) in self._of_target.items() if value != usual]:
            raise ConfigError(
                f"model.{idle[0]} is {self._of_target[idle[0]][0]}, which is of the base VLM's own encoder alone: set"
                " model.encoder to null, or leave it out"
            )
        if not self.encoder_folder.is_dir():
            raise ConfigError(
                f"no encoder at {self.encoder_source!r}; run CTD first (`liteframe fit --config ctd.yaml`), or set"
                " model.encoder to the folder that it exported"
            )
        record = TrainingRecord.read(self.encoder_folder)
        teacher = None if record is None else record.model.get("teacher_class")
        if teacher not in (None, family.teacher.__name__):
            raise ConfigError(
                f"{self.encoder_source}: distilled from a {teacher}, and the base VLM"
                f" {self.host_source} reads features of {'an InternVL' if family is INTERNVL else f'a {family.name}'}"
                f" alone; {self._own_encoder}"
            )
        student = LiteFrameConfig.from_pretrained(self.encoder_folder)
        self._require_width(student, family.feature_width(config))
        if record is not None and record.teacher is not None and not self._is_host(record.teacher):
            rank_zero_only(print)(
                f"{self.encoder_source}: distilled from {record.teacher.source}, and the base VLM is"
                f" {self.host_source}: unless their image encoders are the same, its projector does not know these"
                " features"
            )

    def _is_host(self, teacher: TeacherName) -> bool:
        """Whether a teacher may be the base VLM: by their names, as copies of one model lie in different places."""
        return teacher.source.rstrip("/").rpartition("/")[2] == self.host_source.rstrip("/").rpartition("/")[2]

    def _require_width(self, student: LiteFrameConfig, width: int) -> None:
        if student.output_size != width:
            raise ConfigError(
                f"{self.encoder_source}: gives features of width {student.output_size}, the base VLM"
                f" {self.host_source} takes {width}; {self._own_encoder}"
            )

    def _check_own_encoder(self) -> None:
        names = ("train_encoder", "checkpoint_encoder", "encoder_chunk_clips", "encoder_lr")
        if set_ := [name for name in names if getattr(self, name)]:
            off = [f"model.{name} to {'null' if name.startswith('encoder') else 'false'}" for name in set_]
            raise ConfigError(
                f"model.encoder is null, and the base VLM's own encoder stays as it is: set {' and '.join(off)}"
            )

    @property
    def _own_encoder(self) -> str:
        options = host_of(read_config(self.host_source), self.host_source).teacher.options(self.host_source)
        return (
            f"distil one from the base VLM (`liteframe fit --config ctd.yaml {options}`). An"
            " encoder of another teacher is used by itself: as a LiteFrameEncoder, or after `liteframe export RUN"
            " encoder.onnx`"
        )

    def row_check(self) -> RowCheck:
        return turns_of

    def sample_check(self, image_size: tuple[int, int]) -> ConversationCheck:
        model = self.model
        assert model is not None
        tokens = tokens_per_group(model, image_size)
        limits = (self._length_limit(model), self.questions_per_video, self.truncate)
        return ConversationCheck(model.prompts, model.frames_per_group, tokens, *limits)

    def _length_limit(self, model: VideoLLM) -> int | None:
        context = context_length(model)
        if self.max_length is not None and not 1 <= self.max_length <= (context or self.max_length):
            raise ConfigError(f"model.max_length is {self.max_length}; the LLM takes 1 to {context or 'any'} tokens")
        return self.max_length or context

    def configure_model(self) -> None:
        if self.model is not None:
            return
        host, processor = load_base_vlm(self.host_source, self.attention)
        family = host_of(host.config, self.host_source)
        backbone = self._student(family.feature_width(host.config))
        if backbone is None and self._of_target["block"][0] is None and not isinstance(self.compressor, Dense):
            own = family.teacher.geometry_of(host.config.vision_config, self.host_source)
            self.compressor = replace(self.compressor, block=own.block())
        host.requires_grad_(False)
        llm: Any = host.model.language_model
        if self.train_llm:
            host.model.language_model = self._with_adapters(llm)
        if self.checkpoint_llm:
            checkpoint_layers(llm)
        model = VideoLLM(host, processor, backbone, self.compressor)
        if isinstance(self.compressor, WAP):
            self.compressor.require(model.backbone.saliencies, f"the encoder of {self.host_source}")  # type: ignore[arg-type]
        made_for = FrameSpec(model.frames.image_size, model.clip_frames)
        size = follow_frames(self, made_for, self.encoder_source or self.host_source)
        if size is not None:
            model.require_size(size, "data.image_size")
        limit = self._length_limit(model)
        model.prompts.max_length = limit if self.truncate else None
        model.backbone.requires_grad_(self.train_encoder)
        model.projector.requires_grad_(self.train_projector)
        if self.train_projector:
            model.projector.float()  # steps this small would be lost in bfloat16 weights
        if self.device_mesh is not None:
            model = shard(model, self.device_mesh["data_parallel"])
        # What was loaded is in eval mode, where Lightning leaves it and layers do no checkpointing.
        self.model = model.train()

    def _student(self, width: int) -> LiteFrameBackbone | None:
        """What CTD exported; None for the base VLM's own encoder."""
        if self.encoder_source is None:
            return None
        encoder = LiteFrameEncoder.from_pretrained(self.encoder_source)
        self._require_width(encoder.config, width)
        encoder.save_memory(self.encoder_chunk_clips, self.checkpoint_encoder)
        return LiteFrameBackbone(encoder, frames_of(self.encoder_folder).image_size)

    def _with_adapters(self, language_model: PreTrainedModel) -> PeftModel:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return with_adapters(language_model, self.lora)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if not self.train_llm and self.lora != LoraSettings():
            rank_zero_only(print)("model.train_llm is false: the LLM gets no adapters, and model.lora changes nothing")

    def module_lrs(self) -> dict[str, float]:
        parts = {
            "model.language_model": (self.train_llm, self.llm_lr),
            "model.backbone": (self.train_encoder, self.encoder_lr),
            "model.projector": (self.train_projector, self.projector_lr),
        }
        return {name: rate for name, (is_trained, rate) in parts.items() if is_trained and rate is not None}

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        assert self.model is not None
        tokens_BTHWC = self.model.encode(batch["frames_BTCHW"])
        loss = answer_step(self, self.model, batch, tokens_BTHWC, self.questions_per_video, mean_over=self.mean_over)
        return self.training_loss(loss, counted="answer_tokens" if self.mean_over == "tokens" else "answered_videos")

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Loss and accuracy over every answer token; `questions_per_video` says how many are asked at a time."""
        assert self.model is not None
        tokens_BTHWC = self.model.encode(batch["frames_BTCHW"])
        sharded = self.device_mesh is not None
        self.note_validation(
            validation_answers(self.model, batch, tokens_BTHWC, self.questions_per_video, in_step=sharded)
        )

    def on_fit_end(self) -> None:
        if self.device_mesh is not None and self.model is not None:
            # Every rank takes part, though one exports; of the LLM, adapters alone are exported.
            gather(self.model, trained_only=True)
            gather(self.model.backbone)
            gather(self.model.projector)
        super().on_fit_end()

    def settings(self) -> dict[str, Any]:
        own = ("train_llm", "train_encoder", "train_projector", "llm_lr", "encoder_lr", "projector_lr")
        named = {
            name: getattr(self, name) for name in (*own, "questions_per_video", "mean_over", "max_length", "truncate")
        }
        own_encoder = {"target": self.compressor.describe()} if self.encoder_source is None else {}
        return super().settings() | {"lora": asdict(self.lora) if self.train_llm else None} | named | own_encoder

    def export(self, folder: Path) -> None:
        assert self.model is not None
        language_model, backbone = self.model.language_model, self.model.backbone
        save_adapted(
            folder,
            self.host_source,
            backbone.encoder if isinstance(backbone, LiteFrameBackbone) else self.compressor,
            language_model if isinstance(language_model, PeftModel) else None,
            self.model.projector,
            self.trainer.datamodule.settings.image_size,  # type: ignore[attr-defined]
        )
        if self.encoder_source is not None:
            self.training_record().write(folder / "encoder")


def with_adapters(language_model: PreTrainedModel, lora: LoraSettings) -> PeftModel:
    """The LLM with new adapters in it. Raises ConfigError at a target that it has no linear layer for."""
    settings = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=0.0, target_modules=lora.targets)
    try:
        adapted = get_peft_model(language_model, settings)
    except ValueError as error:
        raise ConfigError(f"model.lora.targets {lora.targets}: {error}") from error
    if unmatched := _unmatched(adapted, lora.targets):
        raise ConfigError(
            f"model.lora.targets: no linear layer of the LLM is named {' or '.join(unmatched)}; it has"
            f" {', '.join(_linear_layers(language_model))}"
        )
    return adapted


def _unmatched(adapted: PeftModel, targets: Sequence[str]) -> list[str]:
    """Targets that peft has passed over; those of fused experts it takes out of its own list."""
    tuner: Any = adapted.base_model
    (settings,) = tuner.peft_config.values()
    found = [f".{name}" for name in tuner.targeted_module_names]
    return [
        name for name in targets if name in settings.target_modules and not any(n.endswith(f".{name}") for n in found)
    ]


def _linear_layers(language_model: torch.nn.Module) -> list[str]:
    """Names of the linear layers, without their paths."""
    layers = language_model.named_modules()
    own = {name.removesuffix(".base_layer") for name, layer in layers if isinstance(layer, torch.nn.Linear)}
    return sorted({name.rpartition(".")[2] for name in own if ".lora_" not in name})
