"""CTD as the paper's text can be read to the letter: what `CTDStage` is measured against."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from liteframe.stages.ctd import CTDStage
from liteframe.stages.losses import SummedLoss, sum_of
from liteframe.stages.means import Means


class LiteralCTD(CTDStage):
    """Raw targets, a head that starts at zero, and from the first step on no residual beyond three deviations counts.

    Mean and deviation of the residuals are one of each, over all channels. For one process.
    """

    def on_fit_start(self) -> None:
        bias_C = self.encoder.head.bias.detach().clone()
        super().on_fit_start()
        with torch.no_grad():
            self.encoder.head.bias.copy_(bias_C)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        student_BTHWC, targets_BTHWC, weight_BT = self._tokens(batch)
        residual = (student_BTHWC.float() - targets_BTHWC.float())[weight_BT > 0]
        assert self.clip_sigma is not None
        far = (residual.detach() - residual.detach().mean()).abs() > self.clip_sigma * residual.detach().std()
        total, kept = residual.square()[~far].sum(), sum_of(~far)
        means = {"loss": (sum_of(total), kept), "clipped": (sum_of(far), kept + sum_of(far))}
        return self.training_loss(SummedLoss(total, Means(means)))
