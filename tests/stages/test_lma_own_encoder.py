"""LMA without a student: the base VLM's own encoder, frozen, with what a target makes of its tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from liteframe.chat.loading import load
from liteframe.errors import ConfigError
from liteframe.hf.export import export
from liteframe.models.folders.training_record import TrainingRecord
from liteframe.models.video_llm.adapted import load_adapted
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.model import VideoLLM
from liteframe.ops.pooling import average_pool
from liteframe.ops.wap import weighted_average_pool
from liteframe.stages.lma import LMAStage, LoraSettings
from liteframe.stages.stage import OptimizerSettings
from tiny_world import encoder_folder, host_folder, make_trainer, manifest, video_data

WAP = {"target": "wap", "block": (4, 2, 2), "similarity": "cosine", "scale": 20.0}
TARGETS: dict[str, dict[str, Any]] = {"dense": {}, "wap": WAP, "average": {"target": "average"}}


def stage(**settings: Any) -> LMAStage:
    defaults: dict[str, Any] = {
        "host": str(host_folder()),
        "encoder": None,
        "train_encoder": False,
        "lora": LoraSettings(rank=4, alpha=8),
        "attention": "eager",
        "optimizer": OptimizerSettings(lr=1e-2),
    }
    return LMAStage(**{**defaults, **settings})


def fit(folder: Path, module: LMAStage) -> LMAStage:
    make_trainer(folder, max_steps=2).fit(module, video_data(train=str(manifest()), batch_size=3))
    return module


def expected_tokens(name: str, model: VideoLLM, frames_BTCHW: Tensor) -> Tensor:
    vision = model.backbone(frames_BTCHW)
    if name == "dense":
        return vision.tokens_BTHWC
    if name == "average":
        return average_pool(vision.tokens_BTHWC, (4, 2, 2))
    return weighted_average_pool(vision.tokens_BTHWC, vision.cls_BTC, (4, 2, 2), "cosine", 20.0)


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_trained_is_exported_and_answers_the_same(name: str, tmp_path: Path) -> None:
    module = fit(tmp_path, stage(**TARGETS[name]))
    trained = module.model
    assert trained is not None
    frames = torch.randn(1, 8, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    loaded = load_adapted(tmp_path / "export", "eager")
    with torch.no_grad():
        tokens = loaded.encode(frames)
        torch.testing.assert_close(tokens, expected_tokens(name, loaded, frames))
        questions = [["color of the star", "color of the ball"]]
        found, expected = (
            each.first_answer_logits(each.project(each.encode(frames)), questions)[0]
            for each in (loaded, trained.eval())
        )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert loaded.frames_per_group == loaded.clip_frames == (1 if name == "dense" else 4)

    base_vlm, processor = load_base_vlm(str(host_folder()), "eager")
    tower = base_vlm.model.vision_tower.state_dict()
    for key, value in loaded.backbone.vision_tower.named_parameters():
        assert torch.equal(value, tower[key]), key
    with torch.no_grad():
        plain = VideoLLM(base_vlm, processor, None, loaded.compressor).eval()
        before = plain.first_answer_logits(plain.project(plain.encode(frames)), questions)[0]
    assert not torch.allclose(before, expected, atol=0.1)
    assert not torch.equal(
        load_file(tmp_path / "export" / "projector.safetensors")["linear_1.weight"],
        base_vlm.model.multi_modal_projector.linear_1.weight,
    )
    record = TrainingRecord.read(tmp_path / "export")
    assert record is not None and record.model["target"] == loaded.compressor.describe()
    assert not (tmp_path / "export" / "encoder").exists()


def test_chat_shows_it_the_compressed_tokens_and_export_says_what_it_lacks(tmp_path: Path) -> None:
    fit(tmp_path, stage(**WAP))
    chat = load(tmp_path / "export", dtype="float32")
    row = json.loads(Path(manifest()).read_text().splitlines()[0])
    answer = chat.answer(Path(manifest()).parent / row["path"], "color of the star", frames=8)
    assert (answer.frames, answer.visual_tokens) == (8, 8)
    with pytest.raises(ConfigError, match="without a student"):
        export(str(tmp_path), str(tmp_path / "out"), False, None, None, "5GB")
    with pytest.raises(ConfigError, match="without a student"):
        export(str(tmp_path), str(tmp_path / "out.onnx"), False, None, None, "5GB")


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"train_encoder": True}, "train_encoder"),
        ({"checkpoint_encoder": True}, "checkpoint_encoder"),
        ({"encoder_chunk_clips": 2}, "encoder_chunk_clips"),
        ({"encoder_lr": 1e-3}, "encoder_lr"),
    ],
)
def test_settings_of_a_student_are_refused(settings: dict[str, Any], field: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"model\.{field}"):
        fit(tmp_path, stage(**settings))


def test_settings_of_the_target_are_refused_with_a_student(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.target is wap"):
        fit(tmp_path, stage(encoder=str(encoder_folder()), train_encoder=True, target="wap"))


def test_frames_that_blocks_do_not_fill_and_scores_that_the_encoder_lacks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.image_size"):
        make_trainer(tmp_path, max_steps=1).fit(stage(**WAP), video_data(train=str(manifest()), image_size=84))
    with pytest.raises(ConfigError, match="attention pool"):
        fit(tmp_path, stage(**{**WAP, "saliency": "attention_pool"}))


def test_a_damaged_compressor_is_named(tmp_path: Path) -> None:
    fit(tmp_path, stage(**WAP))
    card = tmp_path / "export" / "liteframe.json"
    for was, put in (('"cosine"', '"sine"'), ('"wap"', '"other"'), ('"wap"', '["wap"]'), ('"block"', '"blocks"')):
        text = card.read_text()
        card.write_text(text.replace(was, put))
        with pytest.raises(ConfigError, match=r"liteframe\.json"):
            load_adapted(tmp_path / "export")
        card.write_text(text)
