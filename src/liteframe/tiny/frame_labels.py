"""What a tiny image encoder is taught: what lies under each patch of a frame, where, and which objects there are."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from liteframe.data.sources.row_checks import RowCheck
from liteframe.data.transforms import normalize
from liteframe.stages.losses import sum_of
from liteframe.stages.means import Means, SummedLoss
from liteframe.stages.stage import Stage
from liteframe.tiny import synthetic
from liteframe.tiny.synthetic import Scene

_IGNORE = -100
_PATCH_WEIGHT = 5.0
"""Weight of the per-patch labels, the slowest to learn and what the projector will read."""


class FrameLabelStage(Stage):
    """Teaches an image encoder what frames of the tiny world show.

    Patch tokens learn what lies under them and where they are. The class token learns which objects its frame has,
    through the same head as the patches: so it comes to lie near the tokens of objects, however few they are, and far
    from the background. Without that its similarity to a token, WAP's weight, would mean nothing.
    """

    def add_heads(self, width: int) -> None:
        """The layers that labels are read by, of an encoder of that width."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.object_head = nn.Linear(width, synthetic.NUM_PATCH_LABELS)
            self.place_head = nn.Linear(width, 2)
        grid = synthetic.SIZE // synthetic.PATCH
        axis = torch.linspace(-1, 1, grid)
        self.places_N2: Tensor
        places = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(grid * grid, 2)
        self.register_buffer("places_N2", places, persistent=False)

    @abstractmethod
    def features(self, frames_FCHW: Tensor) -> Tensor:
        """Class token and patch tokens of each frame, normalised as ImageNet is, (F, 1 + N, C)."""

    def row_check(self) -> RowCheck:
        return synthetic.require_scene

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        return self.training_loss(self._loss(batch))

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.note_validation(self._loss(batch))

    def _loss(self, batch: dict[str, Any]) -> SummedLoss:
        """Sums over the frames that are shown, which may be none."""
        labels_FN = self._patch_labels(batch)
        shown_F = labels_FN[:, 0] != _IGNORE
        features = self.features(normalize(batch["frames_BTCHW"]).flatten(0, 1))[shown_F]
        labels_FN, patches_FNC = labels_FN[shown_F], features[:, 1:]

        object_logits = self.object_head(patches_FNC).float()
        patch_loss = functional.cross_entropy(object_logits.flatten(0, 1), labels_FN.flatten(), reduction="sum")
        places = self.place_head(patches_FNC).float()
        place_loss = functional.mse_loss(places, self.places_N2.expand_as(places), reduction="sum")
        present = functional.one_hot(labels_FN, synthetic.NUM_PATCH_LABELS).amax(dim=1)
        present[:, 0] = 0  # the background is in every frame, and nothing to point at
        class_logits = self.object_head(features[:, 0]).float()
        class_loss = functional.binary_cross_entropy_with_logits(class_logits, present.float(), reduction="sum")
        total = _PATCH_WEIGHT * patch_loss / labels_FN.shape[1] + place_loss / self.places_N2.numel() + class_loss

        frames, objects = sum_of(shown_F), labels_FN > 0
        right = sum_of((object_logits.argmax(-1) == labels_FN) & objects)
        means = {
            "loss": (sum_of(total), frames),
            "class_loss": (sum_of(class_loss), frames),
            "patch_accuracy": (right, sum_of(objects)),
        }
        return SummedLoss(total, Means(means))

    def _patch_labels(self, batch: dict[str, Any]) -> Tensor:
        """What lies under each patch of every frame, (B * T, N); `_IGNORE` in frames that are padding."""
        labels: list[np.ndarray] = []
        grid = synthetic.SIZE // synthetic.PATCH
        for row, indices_T in zip(batch["rows"], batch["frame_indices_BT"].cpu().numpy(), strict=True):
            if (indices_T < 0).all():
                labels.append(np.full((len(indices_T), grid, grid), _IGNORE))
                continue
            of_frames_THW = synthetic.patch_labels(Scene.from_dict(row["scene"]), indices_T)
            labels.append(np.where(indices_T[:, None, None] < 0, _IGNORE, of_frames_THW))
        return torch.from_numpy(np.concatenate(labels)).flatten(1).to(self.device)
