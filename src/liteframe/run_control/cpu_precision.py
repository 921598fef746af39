"""Mixed precision on a CPU, with attention over short sequences multiplied out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch import Trainer
from lightning.pytorch.plugins.precision import MixedPrecision

from liteframe.models.acceleration.cpu_attention import ShortAttentionMultipliedOut


class CPUMixedPrecision(MixedPrecision):
    """Lightning's, with `ShortAttentionMultipliedOut` around each step."""

    @contextmanager
    def forward_context(self) -> Iterator[None]:
        with super().forward_context(), ShortAttentionMultipliedOut():
            yield


def use_fast_attention(trainer: Trainer) -> None:
    """Puts `CPUMixedPrecision` in the place of Lightning's own on a CPU."""
    given = trainer.strategy.precision_plugin
    if type(given) is MixedPrecision and given.device == "cpu":
        trainer.strategy.precision_plugin = CPUMixedPrecision(
            given.precision,  # type: ignore[arg-type]  # declared wider than what it may be
            "cpu",
            given.scaler,
        )
