"""Pretraining of the tiny base VLM, which has no published weights: first its eyes, then its language.

The published base VLMs come pretrained; these stages exist so that the whole method can be run from nothing.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor
from transformers import ProcessorMixin

from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.data.sources.conversations import turns_of
from liteframe.data.sources.row_checks import RowCheck
from liteframe.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from liteframe.errors import ConfigError
from liteframe.models.backbone import WAP, Compressor, Pool, VisionTokens
from liteframe.models.teachers import read_config
from liteframe.models.video_llm.base_vlm_loading import load_internvl
from liteframe.models.video_llm.model import VideoLLM
from liteframe.stages.answers import answer_step, validation_answers
from liteframe.stages.conversation_check import ConversationCheck, context_length, tokens_per_group
from liteframe.stages.following import follow_frames
from liteframe.stages.means import Means, SummedLoss
from liteframe.stages.stage import OptimizerSettings, Stage
from liteframe.tiny import synthetic
from liteframe.tiny.frame_labels import FrameLabelStage
from liteframe.tiny.models import build_tiny_base_vlm, tiny_timm_vit


class VisionPretrainStage(FrameLabelStage):
    """Teaches the tiny base VLM's image encoder what frames of the tiny world show, see `FrameLabelStage`.

    Args:
        hard: make features as hard to learn as those of large ViTs, see `build_tiny_base_vlm`.
        optimizer: see `OptimizerSettings`.
        seed: of the initial weights.
        out: folder of the exported base VLM; by default `export` in the run folder.
    """

    def __init__(
        self,
        hard: bool = False,
        optimizer: OptimizerSettings = OptimizerSettings(lr=2e-3),
        seed: int | None = None,
        out: str | None = None,
    ) -> None:
        super().__init__(optimizer, seed, out)
        self.hard = hard
        base_vlm, self._processor = build_tiny_base_vlm(self.seed, hard=hard)
        self._base_vlm = [base_vlm]  # in a list, so that only the vision tower below is a submodule
        self.vision_tower = base_vlm.model.vision_tower
        self.add_heads(self.vision_tower.config.hidden_size)

    def features(self, frames_FCHW: Tensor) -> Tensor:
        features = self.vision_tower(pixel_values=frames_FCHW).last_hidden_state
        if not self.hard:
            return features
        last = self.vision_tower.encoder.layer[-1]
        return features - last.lambda_2 * last.mlp.fc2.bias  # heads on massive channels learn nothing in minutes

    def configure_model(self) -> None:
        height, width = self.vision_tower.config.image_size
        follow_frames(self, FrameSpec((height, width)), "the tiny base VLM")

    def export(self, folder: Path) -> None:
        self._base_vlm[0].save_pretrained(folder)
        self._processor.save_pretrained(folder)


class TimmPretrainStage(FrameLabelStage):
    """Teaches a tiny timm ViT the same, so that there is something pretrained to start a tiny student from.

    It stands for the ImageNet weights that a student of the paper's size can start from (`timm_weights` of CTD).

    Args:
        hidden_size, num_hidden_layers, num_attention_heads: of the ViT, as the student has them.
        optimizer: see `OptimizerSettings`.
        seed: of the initial weights.
        out: folder of the exported ViT, as timm writes it; by default `export` in the run folder.
    """

    def __init__(
        self,
        hidden_size: int = 96,
        num_hidden_layers: int = 3,
        num_attention_heads: int = 3,
        optimizer: OptimizerSettings = OptimizerSettings(lr=2e-3),
        seed: int | None = None,
        out: str | None = None,
    ) -> None:
        super().__init__(optimizer, seed, out)
        self.vit = tiny_timm_vit(hidden_size, num_hidden_layers, num_attention_heads, self.seed)
        self.add_heads(hidden_size)

    def features(self, frames_FCHW: Tensor) -> Tensor:
        return self.vit.forward_features(frames_FCHW)

    def configure_model(self) -> None:
        follow_frames(self, FrameSpec((synthetic.SIZE, synthetic.SIZE)), "the tiny ViT")

    def export(self, folder: Path) -> None:
        from timm.models import save_for_hf  # here, because it takes a second that no other stage of this file needs

        pixels = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
        save_for_hf(copy.deepcopy(self.vit).cpu().float(), str(folder), safe_serialization=True, data_config=pixels)


class HostPretrainStage(Stage):
    """Teaches projector and LLM of a base VLM to answer questions about videos, with its image encoder frozen.

    A second loss on the tokens of each frame pooled 2 x 2 in space lets the LLM read features at that density later
    without having been trained on any compressed in time.

    Args:
        host: folder of the base VLM to go on from.
        pooled_too: add the loss on tokens pooled in space; the frames are encoded once for both.
        pooled_by: what pools them: "wap" within a frame, or "average", for a base VLM that knows no tokens of WAP's.
        pool_scale: scale of the cosine in WAP.
        longest_video: half of the batches of fewer frames stand for a video of up to this many, of which the frames
            between are left out: `Frame` lines are numbered, and positions counted, in steps of 2, 4, ... So the LLM
            learns to read long prompts from short ones. Null: frames are always numbered 1, 2, 3.
        gapless_types: question types that are not asked where frames are left out. A batch that asks nothing else
            leaves none out.
        questions_per_video: how many of a row's `questions` are asked at a time; null is all.
        attention: attention implementation of the model, "eager" or "sdpa"; null is transformers' choice.
        optimizer: see `OptimizerSettings`.
        seed: of steps and the questions' order.
        out: folder of the exported base VLM; by default `export` in the run folder.
    """

    def __init__(
        self,
        host: str,
        pooled_too: bool = False,
        pooled_by: Literal["wap", "average"] = "wap",
        pool_scale: float = 20.0,
        longest_video: int | None = None,
        gapless_types: list[str] = [],
        questions_per_video: int | None = None,
        attention: str | None = None,
        optimizer: OptimizerSettings = OptimizerSettings(lr=1e-3),
        seed: int | None = None,
        out: str | None = None,
    ) -> None:
        super().__init__(optimizer, seed, out)
        self.host_source, self.attention = host, attention
        if not pooled_too and (pooled_by, pool_scale) != ("wap", 20.0):
            raise ConfigError("model.pooled_by and pool_scale say how tokens are pooled; set model.pooled_too to true")
        if pooled_by != "wap" and pool_scale != 20.0:
            raise ConfigError(f"model.pool_scale is WAP's, but model.pooled_by is {pooled_by}; leave it out")
        if gapless_types and longest_video is None:
            raise ConfigError("model.gapless_types is set, but no frames are left out; set model.longest_video")
        self.pooled_too = pooled_too
        self.longest_video, self.gapless_types = longest_video, list(gapless_types)
        self.questions_per_video = questions_per_video
        block = (1, 2, 2)
        self.pool: Compressor = WAP(block, "cosine", pool_scale) if pooled_by == "wap" else Pool("average", block)
        self.model: VideoLLM | None = None
        self._processor: ProcessorMixin | None = None

    def check_sources(self) -> None:
        read_config(self.host_source)

    def row_check(self) -> RowCheck:
        return turns_of

    def sample_check(self, image_size: tuple[int, int]) -> ConversationCheck:
        assert self.model is not None
        tokens = tokens_per_group(self.model, image_size)
        limit = context_length(self.model)
        return ConversationCheck(self.model.prompts, 1, tokens, limit, self.questions_per_video)

    def configure_model(self) -> None:
        if self.model is None:
            base_vlm, self._processor = load_internvl(self.host_source, self.attention)
            self._base_vlm = [base_vlm]
            self.model = VideoLLM(base_vlm, self._processor)
            follow_frames(self, FrameSpec(self.model.frames.image_size), self.host_source)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        assert self.model is not None
        rng = self.step_rng()
        step = self._step_apart(batch["frames_BTCHW"].shape[1], rng)
        if step > 1:
            rows = [self._without_gapless(row) for row in batch["rows"]]
            if all(row.get("questions") != [] for row in rows):
                batch = {**batch, "rows": rows}
            else:
                step = 1
        vision = self.model.backbone(batch["frames_BTCHW"])
        losses = [
            answer_step(self, self.model, batch, tokens_BTHWC, self.questions_per_video, step)
            for tokens_BTHWC in self._densities(vision)
        ]
        return self.training_loss(_mean(losses), counted="answer_tokens")

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Loss and accuracy over every answer token, of frames that are numbered in a row."""
        assert self.model is not None
        vision = self.model.backbone(batch["frames_BTCHW"])
        losses = [
            validation_answers(self.model, batch, tokens_BTHWC, self.questions_per_video)
            for tokens_BTHWC in self._densities(vision)
        ]
        self.note_validation(_mean(losses))

    def _densities(self, vision: VisionTokens) -> list[Tensor]:
        """What the LLM learns to read of a batch: every token, and with `pooled_too` the pooled ones."""
        return [vision.tokens_BTHWC, *([self.pool(vision)] if self.pooled_too else [])]

    def _step_apart(self, frames: int, rng: np.random.Generator) -> int:
        """Between the numbers of frames: 1, or in half of the draws a larger power of 2 that `longest_video` allows."""
        most = (self.longest_video or 0) // frames
        return 2 ** int(rng.integers(1, most.bit_length())) if most > 1 and rng.random() < 0.5 else 1

    def _without_gapless(self, row: dict[str, Any]) -> dict[str, Any]:
        asked = row.get("questions")
        if not asked:
            return row
        return {**row, "questions": [question for question in asked if question.get("type") not in self.gapless_types]}

    def settings(self) -> dict[str, Any]:
        names = ("pooled_too", "longest_video", "questions_per_video")
        return super().settings() | {name: getattr(self, name) for name in names}

    def export(self, folder: Path) -> None:
        assert self._processor is not None and self.model is not None
        backbone: Any = self.model.backbone
        for part in ("image_processor", "video_processor"):
            # As they were in training, whatever an older export of the base VLM says.
            reader = getattr(self._processor, part, None)
            if reader is not None:
                reader.image_mean, reader.image_std = list(backbone.mean), list(backbone.std)
        self._base_vlm[0].save_pretrained(folder)
        self._processor.save_pretrained(folder)


def _mean(losses: list[SummedLoss]) -> SummedLoss:
    """The mean of losses on the same answers, so all of one count.

    Its means are those of the first, and of the second one as "pooled_"; of two, "loss" is what is minimised and the
    first one's is "unpooled_loss".
    """
    if len(losses) == 1:
        return losses[0]
    unpooled, pooled = losses
    total = (unpooled.total + pooled.total) / 2
    own = {"loss": (total, unpooled.count), "unpooled_loss": unpooled.means.parts["loss"]}
    return SummedLoss(total, unpooled.means | pooled.means.prefixed("pooled_") | Means(own))
