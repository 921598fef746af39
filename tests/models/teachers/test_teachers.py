"""The teacher gives what transformers gives, is never trained or saved, and is loaded whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import InternVLConfig, InternVLForConditionalGeneration, Qwen2Config, Qwen2ForCausalLM
from transformers.models.internvl.modeling_internvl import InternVLModel

from liteframe.errors import ConfigError
from liteframe.models.teachers import InternVLTeacher, pixel_shuffle

EXACT = {"rtol": 1e-5, "atol": 1e-5}
VARIANTS: dict[str, dict[str, Any]] = {
    "as the 300M": {"attention_bias": True},
    "as the 6B": {"use_qk_norm": True, "norm_type": "rms_norm", "attention_bias": False},
    "mean pooling": {"use_mean_pooling": True},
}


def small_host(**vision: Any) -> InternVLForConditionalGeneration:
    """Every weight is random, positions and layer scales included, so that nothing can be mixed up unseen."""
    config = InternVLConfig(
        vision_config={
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "image_size": [56, 56],
            "patch_size": [14, 14],
            **vision,
        },
        text_config=Qwen2Config(
            vocab_size=40, hidden_size=24, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1
        ),
        image_token_id=5,
        image_seq_length=4,
    )
    generator = torch.Generator().manual_seed(0)
    host = InternVLForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in host.parameters():
            parameter.normal_(std=0.2, generator=generator)
    return host


def frames(height: int = 56, width: int = 56) -> torch.Tensor:
    return torch.randn(2, 3, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", VARIANTS)
def test_features_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    host = small_host(**VARIANTS[name])
    pixels = frames()
    with torch.no_grad():
        tower = host.model.vision_tower(pixel_values=pixels.flatten(0, 1)).last_hidden_state
        projected = host.get_image_features(
            pixels.flatten(0, 1), vision_feature_layer=-1, vision_feature_select_strategy="default"
        ).pooler_output
    host.save_pretrained(tmp_path)
    for teacher in (InternVLTeacher.from_host(host), InternVLTeacher.from_pretrained(str(tmp_path))):
        vision = teacher(pixels)
        assert vision.tokens_BTHWC.shape == (2, 3, 4, 4, 32)
        assert vision.cls_BTC is not None
        torch.testing.assert_close(vision.cls_BTC.flatten(0, 1), tower[:, 0], **EXACT)
        torch.testing.assert_close(vision.tokens_BTHWC.reshape(6, 16, 32), tower[:, 1:], **EXACT)
        torch.testing.assert_close(teacher.project(vision.tokens_BTHWC).flatten(0, 1), projected, **EXACT)
    assert teacher.weights_sha256() == InternVLTeacher.from_host(host).weights_sha256()


def test_frames_that_are_not_square_keep_their_rows_and_columns() -> None:
    teacher = InternVLTeacher.from_host(small_host())
    pixels = frames(56, 28)
    vision = teacher(pixels)
    assert vision.tokens_BTHWC.shape == (2, 3, 4, 2, 32)
    tower = teacher.vision_tower(pixel_values=pixels[1, 2:]).last_hidden_state[0, 1:]
    for row in range(4):
        for column in range(2):
            token = vision.tokens_BTHWC[1, 2, row, column]
            torch.testing.assert_close(token, tower[2 * row + column], **EXACT)
    assert teacher.project(vision.tokens_BTHWC).shape == (2, 3, 2, 24)


@pytest.mark.parametrize("shape", [(2, 4, 4, 3), (1, 6, 4, 2), (2, 2, 8, 5)])
def test_pixel_shuffle_is_that_of_transformers(shape: tuple[int, ...]) -> None:
    tokens = torch.arange(float(torch.tensor(shape).prod())).reshape(shape)
    theirs = InternVLModel.pixel_shuffle(None, tokens, 0.5)
    if shape[1] == shape[2]:
        assert torch.equal(pixel_shuffle(tokens), theirs)
    slow = torch.empty(shape[0], shape[1] // 2, shape[2] // 2, 4 * shape[3])
    for row in range(shape[1] // 2):
        for column in range(shape[2] // 2):
            four = [tokens[:, 2 * row + i, 2 * column + j] for i in (0, 1) for j in (0, 1)]
            slow[:, row, column] = torch.cat(four, dim=-1)
    assert torch.equal(pixel_shuffle(tokens), slow)
    assert torch.equal(theirs, slow)


class Student(nn.Module):
    """A module that has a teacher, as CTD's stage has."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher = InternVLTeacher.from_host(small_host(attention_dropout=0.5, hidden_dropout_prob=0.5))
        self.layer = nn.Linear(32, 32)


def test_the_teacher_is_frozen_by_construction() -> None:
    student = Student().train()
    assert student.training and not any(module.training for module in student.teacher.modules())
    assert not any(parameter.requires_grad for parameter in student.teacher.parameters())
    assert set(student.state_dict()) == {"layer.weight", "layer.bias"} and student.teacher.state_dict() == {}
    pixels = frames().requires_grad_()
    vision = student.teacher(pixels)
    assert vision.cls_BTC is not None
    assert not vision.tokens_BTHWC.requires_grad and not vision.cls_BTC.requires_grad
    assert torch.equal(vision.tokens_BTHWC, student.teacher(pixels).tokens_BTHWC), "dropout is off"
    before = student.teacher.weights_sha256()
    student.layer(vision.tokens_BTHWC).square().sum().backward()
    assert all(parameter.grad is None for parameter in student.teacher.parameters())
    optimizer = torch.optim.SGD([p for p in student.parameters() if p.requires_grad], lr=1.0)
    optimizer.step()
    assert student.teacher.weights_sha256() == before


class TestLoading:
    """From every form that transformers saves; anything that does not fit is an error by name."""

    @pytest.fixture
    def host(self) -> InternVLForConditionalGeneration:
        return small_host()

    @pytest.fixture
    def folder(self, host: InternVLForConditionalGeneration, tmp_path: Path) -> Path:
        host.save_pretrained(tmp_path / "host")
        return tmp_path / "host"

    def change(self, folder: Path, **tensors: torch.Tensor | None) -> None:
        path = folder / "model.safetensors"
        kept = {**load_file(path), **tensors}
        save_file({name: value for name, value in kept.items() if value is not None}, path, metadata={"format": "pt"})

    def test_vision_tower_alone(self, host: InternVLForConditionalGeneration, tmp_path: Path) -> None:
        host.model.vision_tower.save_pretrained(tmp_path / "tower")
        teacher = InternVLTeacher.from_pretrained(str(tmp_path / "tower"), attention="eager")
        vision, expected = teacher(frames()), InternVLTeacher.from_host(host)(frames())
        torch.testing.assert_close(vision.tokens_BTHWC, expected.tokens_BTHWC, **EXACT)
        with pytest.raises(ConfigError, match="load it from a base VLM"):
            teacher.project(vision.tokens_BTHWC)

    def test_shards(self, host: InternVLForConditionalGeneration, tmp_path: Path) -> None:
        host.save_pretrained(tmp_path, max_shard_size="20KB")
        weight_map = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
        of_tower = {shard for name, shard in weight_map.items() if "vision_tower." in name}
        unread = sorted(set(weight_map.values()) - {s for n, s in weight_map.items() if "language_model" not in n})
        assert len(of_tower) > 2 and unread
        (tmp_path / unread[0]).unlink()
        teacher = InternVLTeacher.from_pretrained(str(tmp_path))
        assert teacher.weights_sha256() == InternVLTeacher.from_host(host).weights_sha256()
        shard = sorted(of_tower)[1]
        data = (tmp_path / shard).read_bytes()
        (tmp_path / shard).write_bytes(data[:100])
        with pytest.raises(ConfigError, match=shard):
            InternVLTeacher.from_pretrained(str(tmp_path))
        (tmp_path / shard).unlink()
        with pytest.raises(ConfigError, match=f"{shard}.*missing"):
            InternVLTeacher.from_pretrained(str(tmp_path))

    @pytest.mark.parametrize("part", ["vision_tower.layernorm", "multi_modal_projector.layer_norm"])
    def test_a_missing_weight(self, part: str, folder: Path) -> None:
        path = folder / "model.safetensors"
        name = next(n for n in load_file(path) if part in n or part.replace("layernorm", "encoder.layer.1") in n)
        self.change(folder, **{name: None})
        with pytest.raises(ConfigError, match=f"1 missing weights.*{name.split('.', 2)[-1][-20:]}"):
            InternVLTeacher.from_pretrained(str(folder))

    def test_an_unexpected_weight(self, folder: Path) -> None:
        self.change(folder, **{"model.vision_tower.odd.weight": torch.zeros(1)})
        with pytest.raises(ConfigError, match=r"1 unexpected weights.*odd\.weight"):
            InternVLTeacher.from_pretrained(str(folder))

    def test_a_weight_of_another_shape(self, folder: Path) -> None:
        name = next(n for n in load_file(folder / "model.safetensors") if n.endswith("cls_token"))
        self.change(folder, **{name: torch.zeros(1, 1, 16)})
        with pytest.raises(ConfigError, match="cls_token"):
            InternVLTeacher.from_pretrained(str(folder))

    def test_nothing_there(self, folder: Path, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"no model folder '.*nowhere'"):
            InternVLTeacher.from_pretrained(str(tmp_path / "nowhere"))
        (folder / "model.safetensors").unlink()
        with pytest.raises(ConfigError, match=r"no model\.safetensors"):
            InternVLTeacher.from_pretrained(str(folder))
        (folder / "config.json").write_text("{")
        with pytest.raises(ConfigError, match=str(folder)):
            InternVLTeacher.from_pretrained(str(folder))

    def test_another_family(self, tmp_path: Path) -> None:
        sizes = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
        Qwen2ForCausalLM(Qwen2Config(**sizes, num_key_value_heads=1, intermediate_size=8)).save_pretrained(tmp_path)
        with pytest.raises(ConfigError, match="'qwen2' is not of the InternVL family"):
            InternVLTeacher.from_pretrained(str(tmp_path))

    def test_weights_in_half_precision(self, host: InternVLForConditionalGeneration, tmp_path: Path) -> None:
        host.to(torch.bfloat16).save_pretrained(tmp_path)
        for wanted in (None, torch.bfloat16):
            teacher = InternVLTeacher.from_pretrained(str(tmp_path), dtype=wanted)
            assert {p.dtype for p in teacher.parameters()} == {wanted or torch.float32}
