"""SigLIP, SigLIP2, Qwen2.5-VL and timm as teachers: the features of their libraries, from the pixels of a video."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPVisionModel,
    Qwen2VLVideoProcessor,
    Siglip2ImageProcessor,
    SiglipImageProcessor,
)

from liteframe.data.transforms import IMAGENET_MEAN, IMAGENET_STD, normalize
from liteframe.errors import ConfigError, GeometryError
from liteframe.models.backbone import WAP, VisionTokens
from liteframe.models.teachers import (
    QwenVL,
    QwenVLTeacher,
    Siglip,
    SiglipTeacher,
    Teacher,
    TeacherGeometry,
    TeacherSource,
    TimmTeacher,
    TimmViT,
    TransformersTeacher,
)
from liteframe.ops.wap import wap_weights
from small_teachers import SIZES, qwen_folder, randomise, siglip2_folder, siglip_folder, timm_folder, timm_model

EXACT = {"rtol": 1e-5, "atol": 1e-5}


def pixels(frames: int = 4, height: int = 56, width: int = 56) -> Tensor:
    """Two videos of uint8 frames, (2, T, 3, H, W)."""
    return torch.randint(
        0, 256, (2, frames, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(3)
    )


def images(frames_BTCHW: Tensor) -> list[np.ndarray]:
    """The frames one after the other, as processors take them."""
    return list(frames_BTCHW.flatten(0, 1).permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize("size", [(56, 56), (84, 56), (28, 112)])
def test_siglip_is_that_of_transformers(size: tuple[int, int], tmp_path: Path) -> None:
    model = siglip_folder(tmp_path)
    frames = pixels(3, *size)
    values = SiglipImageProcessor(size={"height": size[0], "width": size[1]})(images(frames), return_tensors="pt")
    with torch.no_grad():
        expected = model.vision_model(values.pixel_values, interpolate_pos_encoding=True)
    teacher = Siglip(str(tmp_path)).load()
    vision = teacher(normalize(frames))
    assert vision.tokens_BTHWC.shape == (2, 3, size[0] // 14, size[1] // 14, 32) and vision.cls_BTC is None
    tokens = vision.tokens_BTHWC.reshape(6, -1, 32)
    torch.testing.assert_close(tokens, expected.last_hidden_state, **EXACT)


@pytest.mark.parametrize("size", [(56, 56), (28, 112)])
def test_naflex_siglip2_is_that_of_transformers(size: tuple[int, int], tmp_path: Path) -> None:
    model = siglip2_folder(tmp_path)
    frames = pixels(3, *size)
    most = size[0] * size[1] // 14**2
    inputs = Siglip2ImageProcessor(patch_size=14, max_num_patches=most)(images(frames), return_tensors="pt")
    assert inputs.spatial_shapes.tolist() == [[size[0] // 14, size[1] // 14]] * 6, "nothing is resized or padded"
    with torch.no_grad():
        expected = model.vision_model(**inputs).last_hidden_state
    vision = Siglip(str(tmp_path)).load()(normalize(frames))
    assert vision.tokens_BTHWC.shape == (2, 3, size[0] // 14, size[1] // 14, 32)
    torch.testing.assert_close(vision.tokens_BTHWC.reshape(6, -1, 32), expected, **EXACT)
    assert vision.saliencies == ("mean_token", "attention_pool", "norm")


@pytest.mark.parametrize("size", [(112, 112), (84, 140)])
def test_qwen_is_that_of_transformers(size: tuple[int, int], tmp_path: Path) -> None:
    model = qwen_folder(tmp_path)
    frames = pixels(4, *size)
    inputs = Qwen2VLVideoProcessor(do_resize=False)(list(frames), return_tensors="pt")
    with torch.no_grad():
        expected = model.model.visual(inputs.pixel_values_videos, grid_thw=inputs.video_grid_thw).pooler_output
    teacher = QwenVL(str(tmp_path)).load()
    vision = teacher(normalize(frames))
    assert vision.tokens_BTHWC.shape == (2, 2, size[0] // 28, size[1] // 28, 24)
    torch.testing.assert_close(vision.tokens_BTHWC.reshape(-1, 24), expected, **EXACT)
    assert vision.saliencies == ("mean_token", "norm") and not teacher.frame_wise
    alone = teacher(normalize(frames[1:, 2:]))
    torch.testing.assert_close(alone.tokens_BTHWC[0, 0], vision.tokens_BTHWC[1, 1], **EXACT)


TIMM = {
    "class token and registers": ("vit_small_patch14_reg4_dinov2", {}, 5, ("class_token", "mean_token", "norm")),
    "no class token": (
        "vit_small_patch16_224",
        {"class_token": False, "global_pool": "avg"},
        0,
        ("mean_token", "norm"),
    ),
    "attention pool": ("vit_base_patch16_siglip_224", {}, 0, ("mean_token", "attention_pool", "norm")),
    "rotary": ("vit_small_patch16_dinov3", {}, 5, ("class_token", "mean_token", "norm")),
}


@pytest.mark.parametrize("name", TIMM)
@pytest.mark.parametrize("rows", [4, 3])
def test_timm_is_that_of_timm(name: str, rows: int) -> None:
    kind, changes, prefix, saliencies = TIMM[name]
    patch = 14 if "14" in kind else 16
    model: Any = timm_model(kind, **changes, img_size=4 * patch)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    frames = pixels(3, rows * patch, 4 * patch)
    own = frames.flatten(0, 1).float() / 255
    own = (own - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    with torch.no_grad():
        expected = model.forward_features(own)
    teacher = TimmTeacher(model, mean, std)
    vision = teacher(normalize(frames))
    assert vision.saliencies == teacher.saliencies == saliencies
    assert vision.tokens_BTHWC.shape == (2, 3, rows, 4, 32)
    torch.testing.assert_close(vision.tokens_BTHWC.reshape(6, -1, 32), expected[:, prefix:], **EXACT)
    if vision.cls_BTC is not None:
        torch.testing.assert_close(vision.cls_BTC.flatten(0, 1), expected[:, 0], **EXACT)


def test_the_pooling_query_of_siglip_and_of_timm_is_what_their_heads_ask(tmp_path: Path) -> None:
    """With one head, WAP over a whole frame weighs its tokens as the head does."""
    siglip: Any = siglip_folder(tmp_path).vision_model
    siglip.head.attention.num_heads = 1
    siglip.head.attention.head_dim = 32
    timm_vit: Any = timm_model("vit_base_patch16_siglip_224", img_size=64, num_heads=1)
    for teacher, head in ((SiglipTeacher(siglip), "siglip"), (TimmTeacher(timm_vit), "timm")):
        vision = teacher(normalize(pixels(1, *([56] * 2 if head == "siglip" else [64] * 2))))
        assert vision.pool_query_C is not None
        weights = wap_weights(vision.tokens_BTHWC, vision.pool_query_C.expand(2, 1, 32), (1, 4, 4))
        tokens = vision.tokens_BTHWC.reshape(2, 16, 32)
        with torch.no_grad():
            if head == "siglip":
                _, shown = siglip.head.attention(siglip.head.probe.expand(2, 1, 32), tokens, tokens)
            else:
                pool = timm_vit.attn_pool
                keys = pool.kv(tokens)[..., :32]
                shown = (pool.q(pool.latent) @ keys.transpose(1, 2) * 32**-0.5).softmax(-1)
        assert shown.max() > 0.07, "the weights are not all alike"
        torch.testing.assert_close(weights.reshape(2, 1, 16), shown, **EXACT)
        pooled = WAP((1, 4, 4), saliency="attention_pool")(vision)
        torch.testing.assert_close(pooled.reshape(2, 1, 32), shown @ tokens, **EXACT)


def test_a_teacher_of_several_frames_at_a_time_is_not_compiled_for_single_ones(tmp_path: Path) -> None:
    qwen_folder(tmp_path)
    teacher = QwenVL(str(tmp_path)).load()
    with pytest.raises(
        ConfigError, match="torch-compile .*QwenVLTeacher makes its tokens of 2 frames .*leave --engine"
    ):
        teacher.freeze_frames()
    assert teacher._graphs is None


@pytest.fixture(params=["siglip", "siglip2", "qwen", "timm"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> TeacherSource:
    makers: dict[str, tuple[Any, type[Any]]] = {
        "siglip": (siglip_folder, Siglip),
        "siglip2": (siglip2_folder, Siglip),
        "qwen": (qwen_folder, QwenVL),
        "timm": (timm_folder, TimmViT),
    }
    make, kind = makers[request.param]
    make(tmp_path)
    return kind(str(tmp_path))


def test_every_teacher_is_frozen_and_in_no_checkpoint(source: TeacherSource) -> None:
    teacher = source.load()
    assert isinstance(teacher, Teacher)
    assert not any(module.training for module in teacher.modules())
    student = torch.nn.ModuleDict({"teacher": teacher, "layer": torch.nn.Linear(2, 2)}).train()
    assert student.training and not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert set(student.state_dict()) == {"layer.weight", "layer.bias"}
    tokens = teacher(normalize(pixels()).requires_grad_()).tokens_BTHWC
    assert not tokens.requires_grad


def test_geometry_and_attention_come_with_the_folder(source: TeacherSource) -> None:
    eager, fused = source.load("eager"), source.load("sdpa")
    assert (eager.attention, fused.attention) == ("eager", "sdpa")
    frames = normalize(pixels())
    torch.testing.assert_close(eager(frames).tokens_BTHWC, fused(frames).tokens_BTHWC, rtol=1e-4, atol=1e-4)
    assert source.geometry() == eager.geometry, "without weights as with them"
    assert source.geometry().width == fused(frames).tokens_BTHWC.shape[-1]
    described = eager.describe()
    assert described["class"] == type(eager).__name__ and described["weights"] == fused.weights_sha256()
    with torch.no_grad():
        next(eager.tower.parameters()).flatten()[0] += 1
    assert eager.weights_sha256() != fused.weights_sha256()
    with pytest.raises(GeometryError, match=r"height 57 is not a multiple of .*nearest legal: 56 or"):
        fused(normalize(pixels(4, 57, 56)))


def test_kinds_of_geometry(tmp_path: Path) -> None:
    siglip_folder(tmp_path / "siglip")
    qwen_folder(tmp_path / "qwen")
    timm_folder(tmp_path / "timm")
    assert Siglip(str(tmp_path / "siglip")).geometry() == TeacherGeometry(32, 14, 56)
    assert QwenVL(str(tmp_path / "qwen")).geometry() == TeacherGeometry(24, 14, None, frames=2, merge=2)
    assert TimmViT(str(tmp_path / "timm")).geometry() == TeacherGeometry(32, 14, 56)
    with pytest.raises(GeometryError, match=r"3 frames: a token of this teacher spans 2 .*2 or 4"):
        QwenVLTeacher.from_pretrained(str(tmp_path / "qwen"))(normalize(pixels(3)))


def test_the_encoder_alone_is_the_encoder_of_the_whole(tmp_path: Path) -> None:
    siglip = siglip_folder(tmp_path / "siglip")
    siglip.vision_model.save_pretrained(tmp_path / "siglip-vision")
    whole, alone = (Siglip(str(tmp_path / name)).load() for name in ("siglip", "siglip-vision"))
    assert whole.weights_sha256() == alone.weights_sha256()
    qwen = qwen_folder(tmp_path / "qwen")
    qwen.model.visual.save_pretrained(tmp_path / "qwen-vision")
    whole, alone = (QwenVL(str(tmp_path / name)).load() for name in ("qwen", "qwen-vision"))
    assert whole.weights_sha256() == alone.weights_sha256()


def test_pixels_are_those_of_the_folders_processor(tmp_path: Path) -> None:
    siglip_folder(tmp_path)
    half = Siglip(str(tmp_path)).load()
    assert (half.mean, half.std) == ((0.5,) * 3, (0.5,) * 3)
    assert half.describe()["mean"] == [0.5, 0.5, 0.5], "and the key of a store says so"
    processor = SiglipImageProcessor(image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6])
    processor.save_pretrained(tmp_path)
    other = Siglip(str(tmp_path)).load()
    assert (other.mean, other.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    SiglipImageProcessor(do_normalize=False).save_pretrained(tmp_path)
    assert Siglip(str(tmp_path)).load().std == (1.0, 1.0, 1.0)
    SiglipImageProcessor(rescale_factor=1 / 127).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"processor.*json: only processors that scale pixels by 1/255"):
        Siglip(str(tmp_path)).load()
    imagenet = TimmTeacher(timm_model())
    assert (imagenet.mean, imagenet.std) == (IMAGENET_MEAN, IMAGENET_STD) and "mean" not in imagenet.describe()


def test_an_encoder_without_pooling_head_says_what_it_has(tmp_path: Path) -> None:
    siglip_folder(tmp_path, head=False)
    vision = Siglip(str(tmp_path)).load()(normalize(pixels()))
    assert vision.saliencies == ("mean_token", "norm")
    for name in ("class_token", "attention_pool"):
        with pytest.raises(ConfigError, match=rf"{name.replace('_', ' ')}.* has none; .*mean_token, norm"):
            WAP(saliency=name)(vision)


def test_what_is_not_such_a_model_is_refused(tmp_path: Path) -> None:
    siglip_folder(tmp_path / "siglip")
    qwen_folder(tmp_path / "qwen")
    for wrong, message in (
        (QwenVL(str(tmp_path / "siglip")), "'siglip' is not of the Qwen2.5-VL family"),
        (Siglip(str(tmp_path / "qwen")), "'qwen2_5_vl' is not of the SigLIP family"),
        (Siglip(str(tmp_path / "nowhere")), "no model folder"),
        (TimmViT(str(tmp_path / "qwen")), "timm cannot make this model"),
        (TimmViT("no_such_vit"), "no_such_vit: timm cannot make this model"),
        (TimmViT("resnet18"), "resnet18: not a timm vision transformer"),
    ):
        with pytest.raises(ConfigError, match=message):
            wrong.geometry()
    with pytest.raises(ConfigError, match="dynamic_img_size=True"):
        TimmTeacher(timm_model(dynamic_img_size=False))
    path = tmp_path / "siglip" / "model.safetensors"
    tensors = load_file(path)
    del tensors["vision_model.head.probe"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"1 missing weights.*head\.probe"):
        Siglip(str(tmp_path / "siglip")).load()


def test_a_timm_folder_is_loaded_whole_or_not_at_all(tmp_path: Path) -> None:
    timm_folder(tmp_path, num_classes=3)
    whole = TimmViT(str(tmp_path)).load()
    assert isinstance(whole.tower.head, torch.nn.Identity), "the classifier is not read"
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    del tensors["blocks.1.norm1.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"blocks\.1\.norm1\.weight"):
        TimmViT(str(tmp_path)).load()
    with pytest.raises(ConfigError, match="attention is 'flash'"):
        TimmViT(str(tmp_path)).load("flash")


class ClipTeacher(TransformersTeacher):
    """All that another family needs."""

    family = "CLIP"
    whole_types = ("clip",)
    towers: ClassVar[dict[str, Any]] = {"clip_vision_model": CLIPVisionModel}
    prefix = "vision_model."
    pixels = ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))

    @classmethod
    def geometry_of(cls, config: Any, source: str) -> TeacherGeometry:
        return TeacherGeometry(config.hidden_size, config.patch_size, config.image_size)

    def encode(self, frames_BTCHW: Tensor, grid: tuple[int, int, int]) -> VisionTokens:
        features = self.tower(frames_BTCHW.flatten(0, 1), interpolate_pos_encoding=True).last_hidden_state
        return VisionTokens(features[:, 1:].reshape(len(frames_BTCHW), *grid, -1))


def test_another_family_is_one_class_of_what_differs(tmp_path: Path) -> None:
    vision = {**SIZES, "image_size": 56, "patch_size": 14}
    clip = randomise(CLIPModel(CLIPConfig(vision_config=vision, text_config={**SIZES, "vocab_size": 20})))
    clip.save_pretrained(tmp_path / "whole")
    clip.vision_model.save_pretrained(tmp_path / "alone")
    frames = pixels(2)
    mean, std = (torch.tensor(colours).view(3, 1, 1) for colours in ClipTeacher.pixels)
    with torch.no_grad():
        expected = clip.vision_model((frames.flatten(0, 1) / 255 - mean) / std).last_hidden_state[:, 1:]
    for folder in (tmp_path / "whole", tmp_path / "alone"):
        assert ClipTeacher.read_geometry(str(folder)) == TeacherGeometry(32, 14, 56)
        teacher = ClipTeacher.from_pretrained(str(folder), "eager")
        tokens_BTHWC = teacher(normalize(frames)).tokens_BTHWC
        torch.testing.assert_close(tokens_BTHWC.reshape(4, 16, 32), expected, **EXACT)
        assert teacher.attention == "eager"
    half = ClipTeacher.from_pretrained(str(tmp_path / "whole"), dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    siglip_folder(tmp_path / "siglip")
    with pytest.raises(ConfigError, match="'siglip' is not of the CLIP family"):
        ClipTeacher.from_pretrained(str(tmp_path / "siglip"))


def test_pixels_are_those_that_transformers_reads(tmp_path: Path) -> None:
    """Of two files, as a folder has them that another version saved again."""
    siglip_folder(tmp_path)
    path, whole = tmp_path / "preprocessor_config.json", tmp_path / "processor_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "image_mean": [0.1] * 3}))
    of_images = {**settings, "image_mean": [0.7] * 3}
    for fields, mean in (({}, 0.1), ({"image_processor": of_images}, 0.7)):
        whole.write_text(json.dumps({"processor_class": "SiglipProcessor", **fields}))
        assert list(SiglipImageProcessor.from_pretrained(tmp_path).image_mean) == [mean] * 3
        assert Siglip(str(tmp_path)).load().mean == (mean, mean, mean)
