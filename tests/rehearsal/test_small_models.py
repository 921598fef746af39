"""Small models load as published ones do, and keep every field but widths, depths and sizes of frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from host_world import CHATML, FAMILY, bpe_processor, family_folder
from liteframe.errors import ConfigError
from liteframe.models.teachers import VJEPA2, QwenVL, Siglip, TeacherGeometry, TimmViT, VideoPrism
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.rehearsal.report import differences
from liteframe.rehearsal.small_models import make_small_model, make_small_timm, shrink, small_side
from small_teachers import videoprism_config

SIZES = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size"),
    *("head_dim", "moe_intermediate_size", "num_experts", "num_experts_per_tok", "vocab_size", "image_size"),
    *("image_token_id", "image_seq_length", "eos_token_id", "pad_token_id", "bos_token_id"),
)


@pytest.mark.parametrize("name", ["internvl3-8b", "internvl3-38b", "internvl3.5-1b", "internvl3.5-30b-a3b"])
def test_published_sizes(tmp_path: Path, name: str) -> None:
    small = make_small_model(name, "InternVL", tmp_path / "small")
    assert small.known_from == f"configs/hosts/{name}.json"
    for field, _, _ in differences(small.fields, small.small_fields):
        assert field.rpartition(".")[2].partition("[")[0] in SIZES, field
    assert (small.folder / "model.safetensors.index.json").is_file()
    host, processor = load_base_vlm(str(small.folder))
    assert host.config.text_config.model_type == small.fields["text_config"]["model_type"]
    assert str(host.dtype) == "torch.bfloat16"
    assert host.num_parameters() < 500_000
    messages = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "which?"}]}]
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text.startswith("<|im_start|>user\n") and text.endswith("which?<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize(("text", "tower"), FAMILY[:2])
def test_a_folder_lends_its_tokenizer_and_template(tmp_path: Path, text: str, tower: str) -> None:
    small = make_small_model(str(family_folder(text, tower)), "InternVL", tmp_path / "small")
    assert small.own_processor
    host, processor = load_base_vlm(str(small.folder))
    assert processor.chat_template == CHATML
    assert processor.tokenizer.get_vocab() == bpe_processor().tokenizer.get_vocab()
    published = json.loads((family_folder(text, tower) / "config.json").read_text())
    assert host.config.text_config.vocab_size == published["text_config"]["vocab_size"]
    assert host.config.vision_config.norm_type == published["vision_config"]["norm_type"]


def test_other_families(tmp_path: Path) -> None:
    siglip = make_small_model("google/siglip2-so400m-patch14-384", "Siglip", tmp_path / "siglip")
    assert siglip.known_from == "", "nothing of it is here"
    assert "attention_pool" in Siglip(str(siglip.folder)).load().saliencies
    qwen = make_small_model("Qwen/Qwen2.5-VL-7B-Instruct", "QwenVL", tmp_path / "qwen")
    assert QwenVL(str(qwen.folder)).load().geometry.merge == 2
    vjepa2 = make_small_model("facebook/vjepa2-vitl-fpc64-256", "VJEPA2", tmp_path / "vjepa2")
    assert VJEPA2(str(vjepa2.folder)).load().geometry == TeacherGeometry(32, 16, 128, frames=2, clip_frames=16)
    assert vjepa2.patch_size == 16
    vit = make_small_timm("vit_base_patch14_dinov2.lvd142m", tmp_path / "vit", layers=3)
    teacher = TimmViT(str(vit.folder)).load()
    assert (teacher.geometry.patch_size, teacher.geometry.width) == (14, 32)
    assert vit.fields == {"embed_dim": 768, "depth": 12, "num_heads": 12, "img_size": 518}


@pytest.mark.parametrize("fields", [{}, {"image_size": [288, 288]}])
def test_a_videoprism(tmp_path: Path, fields: dict[str, Any]) -> None:
    source = "google/videoprism-base-f16r288"
    if fields:
        source = str(tmp_path)
        config = {**videoprism_config().to_dict(), "tubelet_size": [1, 18, 18], "num_frames": 16, **fields}
        (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": ["VideoPrismVisionModel"]}))
    videoprism_config()  # skips where there is none
    small = make_small_model(source, "VideoPrism", tmp_path / "videoprism")
    assert VideoPrism(str(small.folder)).load().geometry == TeacherGeometry(32, 18, 144, clip_frames=16)
    assert small.patch_size == 18


def test_a_tubelet_that_is_a_number_of_frames_says_nothing_of_patches() -> None:
    assert shrink({"tubelet_size": 2, "image_size": 288}) == {"tubelet_size": 2, "image_size": 288}
    assert shrink({"patch_size": 16, "image_size": [288, 320]})["image_size"] == [128, 128]


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no model folder 'a/b/c'"):
        make_small_model("a/b/c", "InternVL", tmp_path / "small")
    with pytest.raises(ConfigError, match="timm cannot make this model"):
        make_small_timm("vit_no_such", tmp_path / "small")


@pytest.mark.parametrize(
    ("side", "multiple", "expected"), [(448, 56, 112), (384, 64, 128), (252, 56, 112), (896, 56, 224)]
)
def test_small_sides(side: int, multiple: int, expected: int) -> None:
    assert small_side(side, multiple) == expected
