"""Pretraining of the tiny host, which has no published weights: first its eyes, then its language.

The published hosts come pretrained; these two stages exist so that the whole method can be run from nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import ProcessorMixin

from liteframe.data import synthetic
from liteframe.data.synthetic import Scene
from liteframe.errors import DataError
from liteframe.models.backbone import WAP
from liteframe.models.teachers import read_config
from liteframe.models.tiny import build_tiny_host
from liteframe.models.video_llm import VideoLLM, load_host
from liteframe.stages.answers import answer_step
from liteframe.stages.stage import OptimizerSettings, Stage

_IGNORE = -100
_PATCH_WEIGHT = 5.0
"""Weight of the per-patch labels, the slowest to learn and what the projector will read."""


class VisionPretrainStage(Stage):
    """Teaches the tiny host's image encoder what frames of the tiny world show.

    Patch tokens learn what lies under them and where they are. The class token learns which objects its frame has,
    through the same head as the patches: so it comes to lie near the tokens of objects, however few they are, and far
    from the background. Without that its similarity to a token, WAP's weight, would mean nothing.

    Args:
        optimizer: see `OptimizerSettings`.
        seed: of the initial weights.
        out: folder of the exported host; by default `export` in the run folder.
    """

    def __init__(
        self, optimizer: OptimizerSettings = OptimizerSettings(lr=2e-3), seed: int = 0, out: str | None = None
    ) -> None:
        super().__init__(optimizer, seed, out)
        host, self._processor = build_tiny_host(seed)
        self._host = [host]  # in a list, so that only the vision tower below is a submodule
        self.vision_tower = host.model.vision_tower
        width = self.vision_tower.config.hidden_size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.object_head = nn.Linear(width, synthetic.NUM_PATCH_LABELS)
            self.place_head = nn.Linear(width, 2)
        grid = synthetic.SIZE // synthetic.PATCH
        axis = torch.linspace(-1, 1, grid)
        self.places_N2: Tensor
        places = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(grid * grid, 2)
        self.register_buffer("places_N2", places, persistent=False)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        labels_FN = self._patch_labels(batch)
        shown_F = labels_FN[:, 0] != _IGNORE
        frames_FCHW = batch["frames_BTCHW"].flatten(0, 1)
        features = self.vision_tower(pixel_values=frames_FCHW).last_hidden_state[shown_F]
        labels_FN, patches_FNC = labels_FN[shown_F], features[:, 1:]

        object_logits = self.object_head(patches_FNC).float()
        patch_loss = functional.cross_entropy(object_logits.flatten(0, 1), labels_FN.flatten())
        place_loss = functional.mse_loss(
            self.place_head(patches_FNC).float(), self.places_N2.expand(len(features), -1, -1)
        )
        present = functional.one_hot(labels_FN, synthetic.NUM_PATCH_LABELS).amax(dim=1)
        present[:, 0] = 0  # the background is in every frame, and nothing to point at
        class_logits = self.object_head(features[:, 0]).float()
        class_loss = functional.binary_cross_entropy_with_logits(class_logits, present.float(), reduction="none")
        loss = _PATCH_WEIGHT * patch_loss + place_loss + class_loss.sum(dim=-1).mean()

        accuracy = (object_logits.argmax(-1) == labels_FN)[labels_FN > 0].float().mean()
        self.log("train/loss", loss, prog_bar=True)
        self.log("train/class_loss", class_loss.sum(dim=-1).mean())
        self.log("train/patch_accuracy", accuracy, prog_bar=True)
        return loss

    def _patch_labels(self, batch: dict[str, Any]) -> Tensor:
        """What lies under each patch of every frame, (B * T, N); `_IGNORE` in frames that are padding."""
        labels: list[np.ndarray] = []
        for row, indices_T in zip(batch["rows"], batch["frame_indices_BT"].cpu().numpy(), strict=True):
            if "scene" not in row:
                raise DataError(f"{row['path']}: no field scene; this stage needs a world made by `liteframe synth`")
            of_frames_THW = synthetic.patch_labels(Scene.from_dict(row["scene"]), indices_T)
            labels.append(np.where(indices_T[:, None, None] < 0, _IGNORE, of_frames_THW))
        return torch.from_numpy(np.concatenate(labels)).flatten(1).to(self.device)

    def export(self, folder: Path) -> None:
        self._host[0].save_pretrained(folder)
        self._processor.save_pretrained(folder)


class HostPretrainStage(Stage):
    """Teaches projector and LLM of a host to answer questions about videos, with its image encoder frozen.

    A second loss on the tokens of each frame pooled 2 x 2 in space lets the LLM read features at that density later
    without having been trained on any compressed in time.

    Args:
        host: folder of the host to go on from.
        pooled_too: add the loss on tokens pooled in space; the frames are encoded once for both.
        pool_scale: scale of the cosine in that pooling (WAP within a frame).
        longest_video: half of the batches of fewer frames stand for a video of up to this many, of which the frames
            between are left out: `Frame` lines are numbered, and positions counted, in steps of 2, 4, ... So the LLM
            learns to read long prompts from short ones. Null: frames are always numbered 1, 2, 3.
        gapless_types: question types that are not asked where frames are left out. A batch that asks nothing else
            leaves none out.
        questions_per_video: how many of a row's `questions` are asked at a time; null is all.
        attention: kernel of the model, "eager" or "sdpa"; null is transformers' choice.
        optimizer: see `OptimizerSettings`.
        seed: of steps and the questions' order.
        out: folder of the exported host; by default `export` in the run folder.
    """

    def __init__(
        self,
        host: str,
        pooled_too: bool = False,
        pool_scale: float = 20.0,
        longest_video: int | None = None,
        gapless_types: list[str] = [],
        questions_per_video: int | None = None,
        attention: str | None = None,
        optimizer: OptimizerSettings = OptimizerSettings(lr=1e-3),
        seed: int = 0,
        out: str | None = None,
    ) -> None:
        super().__init__(optimizer, seed, out)
        self.host_source, self.attention = host, attention
        self.pooled_too = pooled_too
        self.longest_video, self.gapless_types = longest_video, list(gapless_types)
        self.questions_per_video = questions_per_video
        self.pool = WAP((1, 2, 2), "cosine", pool_scale)
        self.model: VideoLLM | None = None
        self._processor: ProcessorMixin | None = None

    def check_sources(self) -> None:
        read_config(self.host_source)

    def configure_model(self) -> None:
        if self.model is None:
            host, self._processor = load_host(self.host_source, self.attention)
            self._host = [host]
            self.model = VideoLLM(host, self._processor)

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
        loss = answer_step(self, self.model, batch, vision.tokens_BTHWC, self.questions_per_video, step).loss
        if self.pooled_too:
            pooled = answer_step(
                self, self.model, batch, self.pool(vision), self.questions_per_video, step, name="pooled_"
            )
            loss = (loss + pooled.loss) / 2
        return loss

    def _step_apart(self, frames: int, rng: np.random.Generator) -> int:
        """Between the numbers of frames: 1, or in half of the draws a larger power of 2 that `longest_video` allows."""
        most = (self.longest_video or 0) // frames
        return 2 ** int(rng.integers(1, most.bit_length())) if most > 1 and rng.random() < 0.5 else 1

    def _without_gapless(self, row: dict[str, Any]) -> dict[str, Any]:
        asked = row.get("questions")
        if not asked:
            return row
        return {**row, "questions": [question for question in asked if question.get("type") not in self.gapless_types]}

    def export(self, folder: Path) -> None:
        assert self._processor is not None
        self._host[0].save_pretrained(folder)
        self._processor.save_pretrained(folder)
