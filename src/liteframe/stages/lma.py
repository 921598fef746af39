"""LMA, language model adaptation (paper, section 4.3): encoder and LLM learn from video-text pairs to work together."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from liteframe.errors import ConfigError
from liteframe.models.adapted import save_adapted
from liteframe.models.encoder import LiteFrameEncoder
from liteframe.models.sharding import gather, shard
from liteframe.models.teachers import read_config
from liteframe.models.video_llm import LiteFrameBackbone, VideoLLM, load_host
from liteframe.stages.answers import answer_step
from liteframe.stages.stage import OptimizerSettings, Stage

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

    Args:
        host: folder or hub id of the InternVL whose LLM is adapted.
        encoder: folder of the encoder that CTD exported.
        lora: see `LoraSettings`.
        train_encoder: whether the encoder learns too.
        train_projector: whether the projector learns too.
        encoder_lr: learning rate of the encoder; null is the optimizer's.
        projector_lr: learning rate of the projector; null is the optimizer's.
        attention: kernel of the LLM, "eager" or "sdpa"; null is transformers' choice.
        questions_per_video: of a row with several `questions`, how many are asked at a time; null is all.
        optimizer: see `OptimizerSettings`.
        seed: of the adapters' initial weights and of the questions' order.
        out: folder of the export; by default `export` in the run folder.
    """

    def __init__(
        self,
        host: str,
        encoder: str,
        lora: LoraSettings = LoraSettings(),
        train_encoder: bool = True,
        train_projector: bool = True,
        encoder_lr: float | None = None,
        projector_lr: float | None = None,
        attention: str | None = None,
        questions_per_video: int | None = None,
        optimizer: OptimizerSettings = OptimizerSettings(),
        seed: int = 0,
        out: str | None = None,
    ) -> None:
        super().__init__(optimizer, seed, out)
        self.host_source, self.encoder_source, self.lora = host, encoder, lora
        self.train_encoder, self.train_projector = train_encoder, train_projector
        self.encoder_lr, self.projector_lr = encoder_lr, projector_lr
        self.attention, self.questions_per_video = attention, questions_per_video
        self.model: VideoLLM | None = None

    def check_sources(self) -> None:
        read_config(self.host_source)
        if Path(self.encoder_source).is_dir():
            return
        raise ConfigError(
            f"no encoder at {self.encoder_source!r}; run CTD first (`liteframe fit --config ctd.yaml`), or set"
            " model.encoder to the folder that it exported"
        )

    def configure_model(self) -> None:
        if self.model is not None:
            return
        host, processor = load_host(self.host_source, self.attention)
        encoder = LiteFrameEncoder.from_pretrained(self.encoder_source)
        vision: Any = host.config.vision_config
        width = vision.hidden_size
        if encoder.config.output_size != width:
            raise ConfigError(
                f"{self.encoder_source}: gives features of width {encoder.config.output_size}, the host"
                f" {self.host_source} takes {width}; distil an encoder from this host's own vision tower"
            )
        host.requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            adapters = LoraConfig(
                r=self.lora.rank, lora_alpha=self.lora.alpha, lora_dropout=0.0, target_modules=self.lora.targets
            )
            try:
                host.model.language_model = get_peft_model(host.model.language_model, adapters)
            except ValueError as error:
                raise ConfigError(f"model.lora.targets {self.lora.targets}: {error}") from error
        model = VideoLLM(host, processor, LiteFrameBackbone(encoder), frames_per_group=encoder.config.clip_frames)
        model.backbone.requires_grad_(self.train_encoder)
        model.projector.requires_grad_(self.train_projector)
        if self.train_projector:
            model.projector.float()  # steps this small would be lost in bfloat16 weights
        if self.device_mesh is not None:
            model = shard(model, self.device_mesh["data_parallel"])
        self.model = model

    def module_lrs(self) -> dict[str, float]:
        rates = {"model.backbone": self.encoder_lr, "model.projector": self.projector_lr}
        return {name: rate for name, rate in rates.items() if rate is not None}

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        assert self.model is not None
        tokens_BTHWC = self.model.encode(batch["frames_BTCHW"])
        return answer_step(self, self.model, batch, tokens_BTHWC, self.questions_per_video).loss

    def on_fit_end(self) -> None:
        if self.device_mesh is not None and self.model is not None:
            # Every rank takes part, though one exports; of the LLM, adapters alone are exported.
            gather(self.model, trained_only=True)
            gather(self.model.backbone)
            gather(self.model.projector)
        super().on_fit_end()

    def export(self, folder: Path) -> None:
        assert self.model is not None and isinstance(self.model.backbone, LiteFrameBackbone)
        save_adapted(
            folder,
            self.host_source,
            self.model.backbone.encoder,
            self.model.language_model,
            self.model.projector,
        )
