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

    def answer_step(
        stage: Any, model: Any, batch: dict[str, Any], tokens: Any, most: Any, step: int, name: str = ""
    ) -> Any:
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


@pytest.mark.parametrize("pooled_too", [False, True])
def test_the_loss_is_the_mean_of_both_densities(pooled_too: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames are encoded once; the pooled tokens are weighted means over 2 x 2 tokens of a frame."""
    stage = HostPretrainStage(str(host_folder()), pooled_too=pooled_too)
    vision = VisionTokens(torch.randn(2, 3, 4, 4, 8), torch.randn(2, 3, 8))
    encoded: list[torch.Tensor] = []

    def backbone(self: Any, frames: torch.Tensor) -> VisionTokens:
        encoded.append(frames)
        return vision

    seen: dict[str, torch.Tensor] = {}

    def answer_step(
        stage: Any, model: Any, batch: dict[str, Any], tokens: torch.Tensor, most: Any, step: int, name: str = ""
    ) -> Any:
        seen[name] = tokens
        return type("Loss", (), {"loss": torch.tensor(4.0 if name else 1.0)})

    stage.model = type("Model", (), {"backbone": backbone})()  # type: ignore[assignment]
    monkeypatch.setattr(pretrain, "answer_step", answer_step)
    monkeypatch.setattr(stage, "step_rng", lambda: np.random.default_rng(0))
    loss = stage.training_step({"frames_BTCHW": torch.zeros(2, 3, 3, 56, 56), "rows": []}, 0)
    assert len(encoded) == 1
    assert seen[""] is vision.tokens_BTHWC
    assert float(loss) == (2.5 if pooled_too else 1.0)
    if pooled_too:
        block = vision.tokens_BTHWC[1, 2, 2:, :2].reshape(4, 8)
        cosine = torch.nn.functional.cosine_similarity(block, vision.cls_BTC[1, 2][None], dim=-1)  # type: ignore[index]
        torch.testing.assert_close(seen["pooled_"][1, 2, 1, 0], (20 * cosine).softmax(0) @ block)
