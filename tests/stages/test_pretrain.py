"""What a step of host pretraining asks, and as part of how long a video."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from liteframe.models.backbone import VisionTokens
from liteframe.stages import pretrain
from liteframe.stages.pretrain import HostPretrainStage
from tiny_world import host_folder

KINDS = ("needle", "motion", "order")


def steps(
    monkeypatch: pytest.MonkeyPatch, frames: int, kinds: tuple[str, ...], draws: int = 400, **settings: Any
) -> list[tuple[int, set[str]]]:
    """Step between frame numbers, and question types asked, of many training steps."""
    seen: list[tuple[int, set[str]]] = []

    def answer_step(stage: Any, model: Any, batch: dict[str, Any], tokens: Any, most: Any, step: int) -> Any:
        seen.append((step, {question["type"] for row in batch["rows"] for question in row["questions"]}))
        return type("Loss", (), {"loss": torch.zeros(())})

    stage = HostPretrainStage(str(host_folder()), **settings)
    stage.model = type("Model", (), {"backbone": lambda self, frames: VisionTokens(torch.zeros(1, 1, 2, 2, 4))})()  # type: ignore[assignment]
    rng = np.random.default_rng(0)
    monkeypatch.setattr(pretrain, "answer_step", answer_step)
    monkeypatch.setattr(stage, "step_rng", lambda: rng)
    rows = [{"path": "a.mp4", "questions": [{"type": kind, "question": "?", "answer": "!"} for kind in kinds]}]
    for _ in range(draws):
        stage.training_step({"frames_BTCHW": torch.zeros(1, frames, 3, 28, 28), "rows": rows}, 0)
    assert {question["type"] for question in rows[0]["questions"]} == set(kinds), "the batch's rows stay as they are"
    return seen


@pytest.mark.parametrize(("frames", "expected"), [(4, {1, 2, 4, 8, 16}), (16, {1, 2, 4}), (32, {1, 2}), (64, {1})])
def test_half_of_the_steps_stand_for_longer_videos(
    monkeypatch: pytest.MonkeyPatch, frames: int, expected: set[int]
) -> None:
    counts = Counter(step for step, _ in steps(monkeypatch, frames, KINDS, longest_video=64))
    assert set(counts) == expected
    if len(expected) > 1:
        assert counts[1] == pytest.approx(200, abs=40)
        for step in expected - {1}:
            assert counts[step] == pytest.approx(200 / (len(expected) - 1), rel=0.4), step


def test_frames_are_numbered_in_a_row_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {step for step, _ in steps(monkeypatch, 4, KINDS)} == {1}
    assert {step for step, _ in steps(monkeypatch, 48, KINDS, longest_video=64)} == {1}


def test_gapless_types_are_asked_of_frames_in_a_row_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = steps(monkeypatch, 8, KINDS, longest_video=64, gapless_types=["motion"])
    assert len({step for step, _ in mixed}) == 4
    for step, asked in mixed:
        assert asked == (set(KINDS) if step == 1 else {"needle", "order"})
    alone = steps(monkeypatch, 8, ("motion",), longest_video=64, gapless_types=["motion"])
    assert {step for step, _ in alone} == {1} and all(asked == {"motion"} for _, asked in alone)
