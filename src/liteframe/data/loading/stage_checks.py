"""What a stage asks of the rows and samples that it is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightning.pytorch.utilities.model_helpers import is_overridden

from liteframe.data.loading.batching import BatchShape
from liteframe.data.loading.dataset import SampleCheck
from liteframe.data.sampling import FrameSampler
from liteframe.data.sources.row_checks import RowChecks


@dataclass(frozen=True)
class StageChecks:
    """The checks of a stage, by the name of a split.

    Args:
        stage: a LightningModule; None where there is none, which asks nothing.
    """

    stage: Any

    @property
    def timed(self) -> bool:
        """Whether the stage's base VLM, once that is loaded, is told when frames are."""
        model = getattr(self.stage, "model", None)
        return bool(getattr(getattr(model, "host", None), "timed", False))

    def uses(self, split: str) -> bool:
        """Whether the stage looks at a split: not every one validates."""
        return split != "val" or self.stage is None or is_overridden("validation_step", self.stage)

    def of_rows(self, split: str, shapes: Sequence[BatchShape], sampler: FrameSampler) -> RowChecks | None:
        """What is asked of each row when it is read.

        Args:
            split: that the row is of.
            shapes: of training batches, each with its sampler.
            sampler: of all other batches.
        """
        shapes = shapes if split == "train" else []
        ask = self.stage.row_check() if self.uses(split) and hasattr(self.stage, "row_check") else None
        return RowChecks.of(
            [shape.sampler for shape in shapes if shape.sampler is not None] or [sampler],
            ask,
            [shape.question_types for shape in shapes] or [None],
        )

    def of_samples(self, split: str | None, image_size: tuple[int, int]) -> SampleCheck | None:
        """What is asked of each sample that was read, where the stage learns from it or validates by it."""
        if split not in ("train", "val") or not self.uses(split) or not hasattr(self.stage, "sample_check"):
            return None
        check: SampleCheck | None = self.stage.sample_check(image_size)
        return check
