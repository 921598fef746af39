"""What CTD may learn beside the squared error of each token: its direction, and how the tokens of a video lie."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from liteframe.errors import ConfigError


@dataclass(frozen=True)
class LossTerms:
    """Weights of terms that CTD adds to its squared error; 0 leaves a term out, as the paper does.

    Attributes:
        direction: of 1 - cosine of each token and its target, both less the targets' mean.
        relation: of the squared difference between the cosines of any two tokens of a sample and those of their
            targets (similarity-preserving distillation, Tung and Mori, ICCV 2019).

    Raises:
        ConfigError: a weight is negative.
    """

    direction: float = 0.0
    relation: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) >= 0:
                raise ConfigError(f"model.terms.{field.name} is {getattr(self, field.name)}; give 0 or more")

    def __call__(self, student_BTHWC: Tensor, target_BTHWC: Tensor, counts_BT: Tensor) -> Tensor:
        """Sum over the tokens that count, of the terms by their weights; a scalar.

        Args:
            student_BTHWC: tokens of the student, less the targets' mean.
            target_BTHWC: the same of the targets.
            counts_BT: bool; which clips count.
        """
        total = student_BTHWC.new_zeros(())
        counts_BK = counts_BT[:, :, None, None].expand(student_BTHWC.shape[:-1]).flatten(1)
        # where, before the norm: what lies in a blank sample may be anything, and nan * 0 is nan
        student_BKC, target_BKC = (
            functional.normalize(torch.where(counts_BK[..., None], tokens.flatten(1, 3), 0.0), dim=-1)
            for tokens in (student_BTHWC, target_BTHWC)
        )
        if self.direction:
            cosine_BK = (student_BKC * target_BKC).sum(dim=-1)
            total = total + self.direction * torch.where(counts_BK, 1 - cosine_BK, 0.0).sum()
        if self.relation:
            difference_BKK = student_BKC @ student_BKC.mT - target_BKC @ target_BKC.mT
            # tokens that do not count are 0 on both sides; each that does adds its mean over those of its sample
            tokens_B = counts_BK.sum(dim=1).clamp(min=1)
            total = total + self.relation * (difference_BKK.square().sum(dim=(1, 2)) / tokens_B).sum()
        return total
