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

    The class token learns which objects a frame has, without which WAP's weights would mean nothing; the patch tokens
    learn what lies under them, and where they are.

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
        colors = len(synthetic.COLORS)
        sizes = {"star": colors + 1, "triangle": colors + 1, "box": colors, "ball": colors, "ball_cell": 16}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.frame_heads = nn.ModuleDict({name: nn.Linear(width, size) for name, size in sizes.items()})
            self.patch_head = nn.Linear(width, synthetic.NUM_PATCH_LABELS)
            self.place_head = nn.Linear(width, 2)
        grid = synthetic.SIZE // synthetic.PATCH
        axis = torch.linspace(-1, 1, grid)
        places = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(grid * grid, 2)
        self.places_N2: Tensor
        self.register_buffer("places_N2", places, persistent=False)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        features = self.vision_tower(pixel_values=batch["frames_BTCHW"].flatten(0, 1)).last_hidden_state
        class_token, patches = features[:, 0], features[:, 1:]
        frame_targets, patch_targets = self._labels(batch)
        losses = [
            functional.cross_entropy(head(class_token).float(), frame_targets[name])
            for name, head in self.frame_heads.items()
        ]
        patch_logits = self.patch_head(patches).float()
        patch_loss = functional.cross_entropy(patch_logits.flatten(0, 1), patch_targets.flatten())
        place_loss = functional.mse_loss(self.place_head(patches).float(), self.places_N2.expand(len(patches), -1, -1))
        loss = sum(losses) + _PATCH_WEIGHT * patch_loss + place_loss
        shown = patch_targets > 0
        accuracy = (patch_logits.argmax(-1) == patch_targets)[shown].float().mean()
        self.log("train/loss", loss, prog_bar=True)
        self.log("train/patch_accuracy", accuracy, prog_bar=True)
        return loss

    def _labels(self, batch: dict[str, Any]) -> tuple[dict[str, Tensor], Tensor]:
        """Labels of every frame, (B * T,) each, and of every patch, (B * T, N)."""
        of_frames: list[dict[str, np.ndarray]] = []
        of_patches: list[np.ndarray] = []
        for row, indices_T in zip(batch["rows"], batch["frame_indices_BT"].cpu().numpy(), strict=True):
            if "scene" not in row:
                raise DataError(f"{row['path']}: no field scene; this stage needs a world made by `liteframe synth`")
            scene = Scene.from_dict(row["scene"])
            padding = indices_T < 0
            labels = synthetic.frame_labels(scene, indices_T)
            of_frames.append({name: np.where(padding, _IGNORE, values) for name, values in labels.items()})
            of_patches.append(np.where(padding[:, None, None], _IGNORE, synthetic.patch_labels(scene, indices_T)))
        frames = {
            name: torch.from_numpy(np.concatenate([labels[name] for labels in of_frames])).to(self.device)
            for name in of_frames[0]
        }
        return frames, torch.from_numpy(np.concatenate(of_patches)).flatten(1).to(self.device)

    def export(self, folder: Path) -> None:
        self._host[0].save_pretrained(folder)
        self._processor.save_pretrained(folder)


class HostPretrainStage(Stage):
    """Teaches projector and LLM of a host to answer questions about videos, with its image encoder frozen.

    Some steps pool the tokens of each frame 2 x 2 in space, so that the LLM can read features at that density later
    without having been trained on any compressed in time.

    Args:
        host: folder of the host to go on from.
        pooled_fraction: share of the steps that pool in space.
        pool_scale: scale of the cosine in that pooling (WAP within a frame).
        steps_apart: a value is drawn from these in each step: frames are numbered, and positions counted, in such
            steps, as if frames of a longer video had been left out. The LLM then reads longer videos than it saw.
        questions_per_video: how many of a row's `questions` are asked at a time; null is all.
        attention: kernel of the model, "eager" or "sdpa"; null is transformers' choice.
        optimizer: see `OptimizerSettings`.
        seed: of pooling, steps and the questions' order.
        out: folder of the exported host; by default `export` in the run folder.
    """

    def __init__(
        self,
        host: str,
        pooled_fraction: float = 0.0,
        pool_scale: float = 20.0,
        steps_apart: list[int] = [1],
        questions_per_video: int | None = None,
        attention: str | None = None,
        optimizer: OptimizerSettings = OptimizerSettings(lr=1e-3),
        seed: int = 0,
        out: str | None = None,
    ) -> None:
        super().__init__(optimizer, seed, out)
        self.host_source, self.attention = host, attention
        self.pooled_fraction, self.steps_apart = pooled_fraction, list(steps_apart)
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
        step = int(rng.choice(self.steps_apart))
        vision = self.model.backbone(batch["frames_BTCHW"])
        tokens_BTHWC = self.pool(vision) if rng.random() < self.pooled_fraction else vision.tokens_BTHWC
        return answer_step(self, self.model, batch, tokens_BTHWC, self.questions_per_video, step).loss

    def export(self, folder: Path) -> None:
        assert self._processor is not None
        self._host[0].save_pretrained(folder)
        self._processor.save_pretrained(folder)
