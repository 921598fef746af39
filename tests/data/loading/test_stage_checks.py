from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch import LightningModule

from liteframe.data.loading.stage_checks import StageChecks
from liteframe.data.sampling import UniformMidpoints
from liteframe.data.sources.conversations import turns_of


class Asking(LightningModule):
    def row_check(self) -> Any:
        return turns_of

    def sample_check(self, image_size: tuple[int, int]) -> Any:
        return image_size


class Validating(Asking):
    def validation_step(self, batch: Any, batch_idx: int) -> None: ...


@pytest.mark.parametrize(("stage", "splits"), [(Asking(), {"train"}), (Validating(), {"train", "val"}), (None, set())])
def test_a_stage_is_asked_about_what_it_looks_at(stage: Any, splits: set[str]) -> None:
    checks = StageChecks(stage)
    for split in ("train", "val"):
        assert (checks.of_rows(split, [], UniformMidpoints()) is not None) == (split in splits)
        assert checks.of_samples(split, (2, 3)) == ((2, 3) if split in splits else None)
    assert not checks.timed
    assert checks.of_samples("test", (2, 3)) is None and checks.of_samples(None, (2, 3)) is None


@pytest.mark.parametrize("timed", [True, False])
def test_a_base_vlm_that_tells_seconds_asks_for_times(timed: bool) -> None:
    stage = SimpleNamespace(model=None)
    assert not StageChecks(stage).timed
    stage.model = SimpleNamespace(host=SimpleNamespace(timed=timed))
    assert StageChecks(stage).timed == timed
