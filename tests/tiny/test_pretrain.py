"""What a step of host pretraining asks, and as part of how long a video."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback

from liteframe.data.sampling import KeyFrames
from liteframe.data.transforms import IMAGENET_MEAN
from liteframe.models.backbone import VisionTokens
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.student.init_from_timm import load_timm_weights
from liteframe.models.teachers import InternVLTeacher, TimmViT
from liteframe.stages.ctd import CTDStage
from liteframe.stages.means import Means, SummedLoss
from liteframe.stages.stage import OptimizerSettings
from liteframe.system.own_folder import list_files
from liteframe.tiny import pretrain
from liteframe.tiny.models import tiny_timm_vit
from liteframe.tiny.pretrain import HostPretrainStage, TimmPretrainStage
from tiny_world import ENCODER, host_folder, make_trainer, manifest, video_data

KINDS = ("needle", "motion", "order")


def losses_only(loss: SummedLoss, counted: str = "") -> torch.Tensor:
    """In place of `training_loss`, which needs a trainer."""
    return loss.total


def steps(
    monkeypatch: pytest.MonkeyPatch, frames: int, kinds: tuple[str, ...], draws: int = 400, **settings: Any
) -> list[tuple[int, set[str]]]:
    """Step between frame numbers, and question types asked, of many training steps."""
    seen: list[tuple[int, set[str]]] = []

    def answer_step(stage: Any, model: Any, batch: dict[str, Any], tokens: Any, most: Any, step: int) -> SummedLoss:
        seen.append((step, {question["type"] for row in batch["rows"] for question in row["questions"]}))
        return SummedLoss(torch.zeros(()), Means({}))

    stage = HostPretrainStage(str(host_folder()), **settings)
    stage.model = type("Model", (), {"backbone": lambda self, frames: VisionTokens(torch.zeros(1, 1, 2, 2, 4))})()  # type: ignore[assignment]
    rng = np.random.default_rng(0)
    monkeypatch.setattr(pretrain, "answer_step", answer_step)
    monkeypatch.setattr(stage, "step_rng", lambda: rng)
    monkeypatch.setattr(stage, "training_loss", losses_only)
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


@pytest.mark.parametrize("pooled_by", [None, "wap", "average"])
def test_the_loss_is_the_mean_of_both_densities(pooled_by: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames are encoded once; the pooled tokens are (weighted) means over 2 x 2 tokens of a frame."""
    stage = HostPretrainStage(str(host_folder()), pooled_too=pooled_by is not None, pooled_by=pooled_by or "wap")
    vision = VisionTokens(torch.randn(2, 3, 4, 4, 8), torch.randn(2, 3, 8))
    encoded: list[torch.Tensor] = []

    def backbone(self: Any, frames: torch.Tensor) -> VisionTokens:
        encoded.append(frames)
        return vision

    seen: list[torch.Tensor] = []

    def answer_step(*args: Any) -> SummedLoss:
        seen.append(args[3])
        total = torch.tensor(float(4 ** len(seen[1:])))
        return SummedLoss(total, Means({"loss": (total, torch.tensor(1.0))}))

    stage.model = type("Model", (), {"backbone": backbone})()  # type: ignore[assignment]
    monkeypatch.setattr(pretrain, "answer_step", answer_step)
    monkeypatch.setattr(stage, "step_rng", lambda: np.random.default_rng(0))
    monkeypatch.setattr(stage, "training_loss", losses_only)
    loss = stage.training_step({"frames_BTCHW": torch.zeros(2, 3, 3, 56, 56), "rows": []}, 0)
    assert len(encoded) == 1
    assert seen[0] is vision.tokens_BTHWC
    assert float(loss) == (2.5 if pooled_by else 1.0)
    if pooled_by:
        block = vision.tokens_BTHWC[1, 2, 2:, :2].reshape(4, 8)
        cosine = torch.nn.functional.cosine_similarity(block, vision.cls_BTC[1, 2][None], dim=-1)  # type: ignore[index]
        weights = (20 * cosine).softmax(0) if pooled_by == "wap" else torch.full((4,), 0.25)
        torch.testing.assert_close(seen[1][1, 2, 1, 0], weights @ block)


def test_a_timm_vit_learns_the_labels_and_a_student_starts_from_it(tmp_path: Path) -> None:
    module = TimmPretrainStage(32, 2, 2, optimizer=OptimizerSettings(lr=3e-3))
    videos = video_data(train=str(manifest()), train_sampler=KeyFrames(), frames=4)
    losses: list[float] = []

    class Watch(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            losses.append(float(trainer.callback_metrics["train/loss"]))

    make_trainer(tmp_path, max_steps=12, callbacks=[Watch()]).fit(module, videos)
    assert losses[-1] < 0.7 * losses[0]
    student = CTDStage(encoder=ENCODER, timm_weights=str(tmp_path / "export"), picture_every=0)
    before = {name: value.clone() for name, value in student.encoder.state_dict().items()}
    fresh = load_timm_weights(student.encoder, str(tmp_path / "export"), pretrained=True)
    assert all((".temporal." in n) or n.startswith(("downsamples.", "head.")) for n in fresh)
    for name, value in student.encoder.state_dict().items():
        assert torch.equal(value, before[name]) == (name in fresh), name
    assert torch.equal(student.encoder.blocks[1].fc1.weight, module.vit.blocks[1].mlp.fc1.weight)
    make_trainer(tmp_path / "ctd", max_steps=1).fit(
        CTDStage(
            encoder=ENCODER,
            teacher=str(host_folder()),
            timm_weights=str(tmp_path / "export"),
            optimizer=OptimizerSettings(lr=1e-9),
        ),
        video_data(train=str(manifest())),
    )
    started = LiteFrameEncoder.from_pretrained(tmp_path / "ctd" / "export")
    torch.testing.assert_close(started.blocks[1].fc1.weight, module.vit.blocks[1].mlp.fc1.weight, rtol=0, atol=1e-5)
    teacher = TimmViT(str(tmp_path / "export")).load()
    assert (teacher.mean, teacher.class_token) == (IMAGENET_MEAN, True), "frames need no other pixels"


def test_the_same_seed_starts_from_the_same_vit() -> None:
    one, same, other = (tiny_timm_vit(32, 2, 2, seed) for seed in (0, 0, 1))
    assert torch.equal(one.blocks[0].mlp.fc1.weight, same.blocks[0].mlp.fc1.weight)
    assert not torch.equal(one.blocks[0].mlp.fc1.weight, other.blocks[0].mlp.fc1.weight)


def test_an_exported_host_says_how_its_pixels_were_normalised(tmp_path: Path) -> None:
    """Even one that goes on from an export whose processor said otherwise, as the tiny host's once did."""
    old = Path(shutil.copytree(host_folder(), tmp_path / "old"))
    path = old / "processor_config.json"
    fields = json.loads(path.read_text())
    fields["image_processor"] |= {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.5]}
    path.write_text(json.dumps(fields))
    for kind, expected in (("of others", (0.5, 0.4, 0.3)), ("ours", IMAGENET_MEAN)):
        if kind == "ours":
            list_files(old)
        stage = HostPretrainStage(str(old), attention="eager")
        data = video_data(train=str(manifest()), frames=4, batch_size=2)
        make_trainer(tmp_path / kind, max_steps=1).fit(stage, data)
        backbone: Any = stage.model.backbone if stage.model is not None else None
        assert backbone.mean == expected
        assert InternVLTeacher.from_pretrained(str(tmp_path / kind / "export")).mean == expected
