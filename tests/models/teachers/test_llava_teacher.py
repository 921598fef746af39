"""LLaVA-OneVision's SigLIP as a teacher: the layer that its base VLM reads, on frames that patches need not fill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from liteframe.errors import ConfigError, GeometryError
from liteframe.models.backbone import WAP
from liteframe.models.teachers import LlavaOnevision, LlavaOnevisionTeacher, Siglip, TeacherGeometry
from llava_world import FILLED, PIXELS, SIDE, WIDTH, llava_config, llava_folder, llava_host, llava_processor
from qwen3_world import video

CLOSE = {"rtol": 1e-4, "atol": 5e-5}


def states(host: Any, frames_BTCHW: torch.Tensor) -> Any:
    """What transformers' own encoder gives behind the embeddings and each layer, (B T, N, C)."""
    mean, std = (torch.tensor(PIXELS[name])[:, None, None] for name in ("image_mean", "image_std"))
    pixels = (frames_BTCHW.flatten(0, 1) / 255 - mean) / std
    with torch.no_grad():
        tower = host.model.vision_tower
        return tower(pixels, interpolate_pos_encoding=True, output_hidden_states=True).hidden_states


@pytest.mark.parametrize(("size", "grid"), [((SIDE, SIDE), (7, 7)), ((FILLED, FILLED), (8, 8)), ((56, 140), (4, 10))])
@pytest.mark.parametrize("layer", [-1, 1])
def test_tokens_are_those_of_the_layer_in_rows_and_columns(
    layer: int, size: tuple[int, int], grid: tuple[int, int], tmp_path: Path
) -> None:
    llava_host(vision_feature_layer=layer).save_pretrained(tmp_path)
    llava_processor().save_pretrained(tmp_path)
    teacher = LlavaOnevision(str(tmp_path)).load("eager")
    frames = torch.stack([video(3, size, seed) for seed in (1, 2)])
    tokens = teacher(frames).tokens_BTHWC
    assert tokens.shape == (2, 3, *grid, WIDTH)
    expected = states(llava_host(), frames)[layer]
    torch.testing.assert_close(tokens.flatten(2, 3).flatten(0, 1), expected, **CLOSE)
    assert teacher.describe()["layer"] == layer


def test_what_is_left_over_at_the_right_and_at_the_bottom_is_not_seen() -> None:
    teacher, frames = LlavaOnevision(str(llava_folder())).load(), video(1, (SIDE, SIDE))[None]
    changed = frames.clone()
    changed[..., 98:], changed[..., 98:, :] = 0, 0
    assert torch.equal(teacher(changed).tokens_BTHWC, teacher(frames).tokens_BTHWC)
    changed[..., 97] = 0
    assert not torch.equal(teacher(changed).tokens_BTHWC, teacher(frames).tokens_BTHWC)


def test_it_is_frozen_and_weighed_without_a_class_token() -> None:
    teacher = LlavaOnevision(str(llava_folder())).load()
    assert not any(weight.requires_grad for weight in teacher.parameters()) and not teacher.train().training
    assert teacher.geometry == TeacherGeometry(WIDTH, 14, SIDE, cropped=True)
    assert teacher.geometry.block() == (4, 2, 2) and teacher.geometry.frame_side((4, 2, 2)) == FILLED
    assert teacher.saliencies == ("mean_token", "norm") and teacher.image_size == (SIDE, SIDE)
    pooled = WAP((4, 2, 2), saliency="norm")(teacher(video(4, (FILLED, FILLED))[None]))
    assert pooled.shape == (1, 1, 4, 4, WIDTH)
    with pytest.raises(GeometryError, match="axis H of the token grid has size 7, which blocks of 2 do not divide"):
        WAP((4, 2, 2), saliency="norm")(teacher(video(4, (SIDE, SIDE))[None]))
    with pytest.raises(GeometryError, match=r"104 x 112 px.*nearest legal: 98 or 112"):
        teacher(video(1, (SIDE, FILLED))[None])


def test_weights_are_found_by_their_published_names(tmp_path: Path) -> None:
    """Published files put `vision_model.` in front of the encoder's own names; transformers 5.23 does not."""
    llava_host().save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    plain = {name.replace("vision_tower.vision_model.", "vision_tower."): each for name, each in tensors.items()}
    published = {name.replace("vision_tower.", "vision_tower.vision_model."): each for name, each in plain.items()}
    frames, found = video(2, (SIDE, SIDE))[None], []
    for named in (plain, published):
        save_file(named, path, metadata={"format": "pt"})
        found.append(LlavaOnevision(str(tmp_path)).load("eager")(frames).tokens_BTHWC)
    assert torch.equal(*found)
    assert LlavaOnevisionTeacher.read_pixels(str(tmp_path)) == LlavaOnevisionTeacher.pixels


def test_the_encoder_alone_and_other_families(tmp_path: Path) -> None:
    llava_host().model.vision_tower.save_pretrained(tmp_path / "alone")
    teacher = LlavaOnevision(str(tmp_path / "alone")).load("eager")
    frames = video(2, (SIDE, SIDE))[None]
    mean, std = (torch.tensor(PIXELS[name])[:, None, None] for name in ("image_mean", "image_std"))
    assert teacher.mean == teacher.std == (0.5, 0.5, 0.5)
    shown = (frames / 255 - mean) / std
    torch.testing.assert_close(
        teacher.encode(shown, (2, 7, 7)).tokens_BTHWC.flatten(2, 3)[0], states(llava_host(), frames)[-1], **CLOSE
    )
    with pytest.raises(ConfigError, match="'llava_onevision' is not of the SigLIP family; set .*LlavaOnevision"):
        Siglip(str(llava_folder())).load()
    llava_config({"model_type": "clip_vision_model"}).save_pretrained(tmp_path / "clip")
    with pytest.raises(ConfigError, match="'clip_vision_model'; of the LLaVA-OneVision family, only siglip_vision"):
        LlavaOnevision(str(tmp_path / "clip")).geometry()
    llava_config(vision_feature_layer=[-1]).save_pretrained(tmp_path / "layers")
    with pytest.raises(ConfigError, match=r"vision_feature_layer of config.json is \[-1\]"):
        LlavaOnevision(str(tmp_path / "layers")).load()
