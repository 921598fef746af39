"""A host's own encoder is read at the layer that its config names, as transformers reads it, or not at all."""

from __future__ import annotations

import json
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import InternVLForConditionalGeneration

from host_world import bpe_processor, family_config
from liteframe.data.transforms import IMAGENET_MEAN, normalize
from liteframe.errors import ConfigError
from liteframe.models.folders.training_record import TrainingRecord
from liteframe.models.rivals.attention_probe import AttentionProbe
from liteframe.models.teachers import InternVLTeacher
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.model import VideoLLM
from liteframe.system.own_folder import list_files
from tiny_world import home

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
QUESTION = "color of the star"


@lru_cache
def host_folder() -> Path:
    """A host, every weight random, with a norm behind its encoder, so that -1 is not the last layer's own output."""
    config = family_config("qwen2", "300M")
    config.vision_config.use_mean_pooling = False
    host, generator = InternVLForConditionalGeneration(config), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in host.parameters():
            parameter.normal_(std=0.2, generator=generator)
    host.save_pretrained(home() / "host-with-norm")
    bpe_processor().save_pretrained(home() / "host-with-norm")
    return home() / "host-with-norm"


def host_with(folder: Path, **changes: Any) -> str:
    """That host with some fields of its config changed."""
    shutil.copytree(host_folder(), folder)
    config = folder / "config.json"
    fields = json.loads(config.read_text())
    for name, value in changes.items():
        part = fields["vision_config"] if name in fields["vision_config"] else fields
        part[name] = value
    config.write_text(json.dumps(fields))
    return str(folder)


def frames(count: int = 3) -> torch.Tensor:
    return torch.randn(1, count, 3, 112, 112, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("layer", [-1, -2, -3, 1, 2])
def test_features_and_answers_are_those_of_transformers(layer: int, tmp_path: Path) -> None:
    source, pixels = host_with(tmp_path / "host", vision_feature_layer=layer), frames()
    host, processor = load_base_vlm(source, "eager")
    own = VideoLLM(host, processor).eval()
    with torch.no_grad():
        visual = own.project(own.encode(pixels))
        theirs = host.get_image_features(pixels[0], layer, "default").pooler_output
        torch.testing.assert_close(visual[0], theirs, **CLOSE)
        ids = own.prompt_ids(visual, QUESTION)
        given = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        logits = host(**given, pixel_values=pixels[0]).logits[:, -1]
        torch.testing.assert_close(own.prefill(visual, ids), logits, **CLOSE)
        teacher = InternVLTeacher.from_pretrained(source, "eager")
        torch.testing.assert_close(teacher.project(teacher(pixels).tokens_BTHWC)[0], theirs, **CLOSE)
        torch.testing.assert_close(InternVLTeacher.from_host(host)(pixels).tokens_BTHWC, own.encode(pixels))
    assert teacher.describe()["layer"] == layer
    assert logits.std() > 0.01


def test_another_layer_gives_other_features(tmp_path: Path) -> None:
    found = []
    for layer in (-1, 2, -3, 0):
        host, processor = load_base_vlm(host_with(tmp_path / str(layer), vision_feature_layer=layer), "eager")
        found.append(VideoLLM(host, processor).eval().encode(frames()))
    assert torch.equal(found[2], found[3]), "the embeddings, counted from either end"
    assert not torch.allclose(found[0], found[1], atol=1e-2) and not torch.allclose(found[1], found[2], atol=1e-2)


def test_the_probe_looks_at_the_last_layer_that_is_run(tmp_path: Path) -> None:
    teacher = InternVLTeacher.from_pretrained(host_with(tmp_path / "host", vision_feature_layer=-2), "eager")
    vision, pixels = AttentionProbe(teacher)(frames()), frames()
    tower = teacher.vision_tower
    with torch.no_grad():
        layer = tower.encoder.layer[0]
        keys = layer.attention.k_proj(layer.layernorm_before(tower.embeddings(pixels[0])))
    assert vision.keys_BTHWK is not None
    torch.testing.assert_close(vision.keys_BTHWK.flatten(2, 3)[0], keys[:, 1:], **CLOSE)
    first = InternVLTeacher.from_pretrained(host_with(tmp_path / "first", vision_feature_layer=0), "eager")
    with pytest.raises(ConfigError, match="vision_feature_layer names the embeddings"):
        AttentionProbe(first)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vision_feature_layer": [-2, -1]}, r"vision_feature_layer .* is \[-2, -1\]; only one layer .* -3 to 2"),
        ({"vision_feature_layer": 3}, r"vision_feature_layer .* is 3;"),
        ({"vision_feature_layer": -4}, r"vision_feature_layer .* is -4;"),
        ({"vision_feature_select_strategy": "full"}, "vision_feature_select_strategy .* is 'full'; only 'default'"),
        ({"downsample_ratio": 0.3}, r"downsample_ratio .* is 0\.3; it must be 1, 1/2"),
        ({"image_size": [112, 56]}, "image_size of the image encoder is 112 x 56; only squares"),
        ({"patch_size": [14, 28]}, "patch_size of the image encoder is 14 x 28; only squares"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    source = host_with(tmp_path / "host", **changes)

    def as_model() -> None:
        host, processor = load_base_vlm(source)
        VideoLLM(host, processor)

    def as_teacher() -> None:
        InternVLTeacher.from_pretrained(source)

    for read in (as_model, as_teacher):
        with pytest.raises(ConfigError, match=said):
            read()


def test_pixels_are_normalised_as_the_host_s_processor_says(tmp_path: Path) -> None:
    """Against transformers' own video processor, from the same uint8 frames."""
    source = host_with(tmp_path / "host")
    path = tmp_path / "host" / "processor_config.json"
    fields = json.loads(path.read_text())
    for name in ("image_processor", "video_processor"):
        fields[name] |= {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.5]}
    path.write_text(json.dumps(fields))
    host, processor = load_base_vlm(source, "eager")
    shown = torch.randint(0, 255, (3, 3, 112, 112), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    theirs = processor.video_processor(shown[None], return_tensors="pt")["pixel_values_videos"][0]
    own = VideoLLM(host, processor).eval()
    with torch.no_grad():
        expected = host.get_image_features(theirs, -1, "default").pooler_output
        torch.testing.assert_close(own.project(own.encode(normalize(shown)[None]))[0], expected, rtol=1e-3, atol=1e-4)
        teacher = InternVLTeacher.from_pretrained(source, "eager")
        torch.testing.assert_close(teacher(normalize(shown)[None]).tokens_BTHWC, own.encode(normalize(shown)[None]))
    assert teacher.describe()["mean"] == [0.5, 0.4, 0.3], "and a feature store says so"
    list_files(tmp_path / "host")
    assert InternVLTeacher.from_pretrained(source).mean == IMAGENET_MEAN, "an export of before there were records"
    TrainingRecord("HostPretrainStage", 1, "32-true").write(tmp_path / "host")
    list_files(tmp_path / "host")
    assert InternVLTeacher.from_pretrained(source).mean == (0.5, 0.4, 0.3)
