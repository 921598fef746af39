"""V-JEPA 2 and VideoPrism as teachers: the features of transformers, clip by clip, on the grid of their tokens."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    CONFIG_MAPPING,
    LlavaOnevisionVideoProcessor,
    VJEPA2ForVideoClassification,
    VJEPA2VideoProcessor,
)
from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2RopeAttention

from liteframe.data.transforms import IMAGENET_MEAN, normalize
from liteframe.errors import ConfigError, GeometryError
from liteframe.models.backbone import WAP
from liteframe.models.teachers import VJEPA2, Siglip, TeacherGeometry, TeacherSource, VideoPrism
from liteframe.rehearsal.small_models import make_small_model
from liteframe.stages.teaching import check_teacher, teacher_frames
from small_teachers import siglip_folder, videoprism_folder, vjepa2_folder

EXACT = {"rtol": 1e-5, "atol": 1e-5}


def pixels(frames: int = 8, height: int = 56, width: int = 56) -> Tensor:
    """Two videos of uint8 frames, (2, T, 3, H, W)."""
    return torch.randint(
        0, 256, (2, frames, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(3)
    )


def vjepa2_input(frames_BTCHW: Tensor) -> Tensor:
    """What its own processor makes of frames that are neither resized nor cropped."""
    processor = VJEPA2VideoProcessor(do_resize=False, do_center_crop=False)
    return processor(list(frames_BTCHW), return_tensors="pt")["pixel_values_videos"]


def change(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.fixture(params=["vjepa2", "videoprism"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> TeacherSource:
    """Teachers of clips of 4 frames."""
    if request.param == "vjepa2":
        vjepa2_folder(tmp_path)
        return VJEPA2(str(tmp_path), clip_frames=4)
    videoprism_folder(tmp_path)
    return VideoPrism(str(tmp_path))


@pytest.mark.parametrize("clip_frames", [2, 4, 8])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_vjepa2_is_that_of_transformers(clip_frames: int, attention: str, tmp_path: Path) -> None:
    model = vjepa2_folder(tmp_path)
    frames = pixels()
    vision = VJEPA2(str(tmp_path), clip_frames).load(attention)(normalize(frames))
    assert vision.tokens_BTHWC.shape == (2, 4, 4, 4, 48)
    for video in range(2):
        for start in range(0, 8, clip_frames):
            clip = frames[video : video + 1, start : start + clip_frames]
            with torch.no_grad():
                expected = model(vjepa2_input(clip), skip_predictor=True).last_hidden_state[0]
            own = vision.tokens_BTHWC[video, start // 2 : (start + clip_frames) // 2]
            torch.testing.assert_close(own.reshape(-1, 48), expected, **EXACT)
    assert vision.saliencies == ("mean_token", "norm")


@pytest.mark.parametrize("size", [(56, 56), (28, 84), (84, 28)])
def test_tokens_lie_where_their_pixels_are(source: TeacherSource, size: tuple[int, int]) -> None:
    """Without attention between tokens, a changed patch changes its own token and no other."""
    path = Path(source.source) / "model.safetensors"
    tensors = load_file(path)
    mixing = [name for name in tensors if name.endswith(("attention.proj.weight", "attention.o_proj.weight"))]
    assert mixing
    save_file(tensors | {name: torch.zeros_like(tensors[name]) for name in mixing}, path, metadata={"format": "pt"})
    teacher, frames = source.load(), pixels(8, *size)
    row, column = size[0] // 14 - 1, size[1] // 14 - 2
    changed = frames.clone()
    changed[1, 5, :, 14 * row : 14 * (row + 1), 14 * column : 14 * (column + 1)] ^= 255
    differs = (teacher(frames).tokens_BTHWC != teacher(changed).tokens_BTHWC).any(-1)
    assert differs.nonzero().tolist() == [[1, 5 // teacher.geometry.frames, row, column]]


@pytest.mark.parametrize("side", [28, 84])
def test_vjepa2_of_other_squares_is_the_model_of_that_size(side: int, tmp_path: Path) -> None:
    """Its only positions are rotary, so a config of another `crop_size` is what transformers offers for it."""
    weights = vjepa2_folder(tmp_path).state_dict()
    frames = pixels(4, side, side)
    other = vjepa2_folder(tmp_path / "other", crop_size=side)
    other.load_state_dict(weights)
    with torch.no_grad():
        expected = other(vjepa2_input(frames), skip_predictor=True).last_hidden_state
    teacher = VJEPA2(str(tmp_path), 4).load()
    tokens_BTHWC = teacher(normalize(frames)).tokens_BTHWC
    torch.testing.assert_close(tokens_BTHWC.reshape(2, -1, 48), expected, **EXACT)
    as_trained = teacher(normalize(pixels(4))).tokens_BTHWC
    torch.testing.assert_close(as_trained, VJEPA2(str(tmp_path), 4).load()(normalize(pixels(4))).tokens_BTHWC, **EXACT)


@pytest.mark.parametrize("size", [(28, 84), (84, 56)])
def test_vjepa2_of_other_shapes_has_each_tokens_own_row_and_column(
    size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = vjepa2_folder(tmp_path)
    frames = pixels(4, *size)
    own = VJEPA2(str(tmp_path), 4).load()(normalize(frames)).tokens_BTHWC
    assert own.shape == (2, 2, size[0] // 14, size[1] // 14, 48)
    with torch.no_grad():
        unaware = model(vjepa2_input(frames), skip_predictor=True).last_hidden_state
    places = torch.cartesian_prod(torch.arange(2), torch.arange(size[0] // 14), torch.arange(size[1] // 14))
    monkeypatch.setattr(VJEPA2RopeAttention, "get_position_ids", lambda *_, **__: places.unbind(1))
    with torch.no_grad():
        expected = model(vjepa2_input(frames), skip_predictor=True).last_hidden_state
    torch.testing.assert_close(own.reshape(2, -1, 48), expected, **EXACT)
    assert not torch.allclose(unaware, expected, atol=1e-3), "transformers counts in the grid of its crop_size"


def test_the_encoder_of_a_vjepa2_with_a_classifier(tmp_path: Path) -> None:
    model = vjepa2_folder(tmp_path, VJEPA2ForVideoClassification)
    with torch.no_grad():
        expected = model.vjepa2(vjepa2_input(pixels(4)), skip_predictor=True).last_hidden_state
    tokens_BTHWC = VJEPA2(str(tmp_path), 4).load()(normalize(pixels(4))).tokens_BTHWC
    torch.testing.assert_close(tokens_BTHWC.reshape(2, -1, 48), expected, **EXACT)


@pytest.mark.parametrize("clip_frames", [None, 2, 8])
@pytest.mark.parametrize("size", [(56, 56), (84, 84), (28, 112)])
def test_videoprism_is_that_of_transformers(clip_frames: int | None, size: tuple[int, int], tmp_path: Path) -> None:
    model = videoprism_folder(tmp_path)
    frames, clip = pixels(8, *size), clip_frames or 4
    processor = LlavaOnevisionVideoProcessor(do_resize=False, do_normalize=False)
    vision = VideoPrism(str(tmp_path), clip_frames).load()(normalize(frames))
    assert vision.tokens_BTHWC.shape == (2, 8, size[0] // 14, size[1] // 14, 32)
    for start in range(0, 8, clip):
        values = processor(list(frames[:, start : start + clip]), return_tensors="pt")["pixel_values_videos"]
        with torch.no_grad():
            expected = model(values, interpolate_pos_encoding=True).last_hidden_state
            if size == (56, 56) and clip == 4:
                torch.testing.assert_close(expected, model(values).last_hidden_state, **EXACT)
        torch.testing.assert_close(vision.tokens_BTHWC[:, start : start + clip].reshape(2, -1, 32), expected, **EXACT)
    assert vision.saliencies == ("mean_token", "norm")


@pytest.mark.parametrize("kind", ["VideoPrismVideoModel", "VideoPrismForVideoClassification", "VideoPrismClipModel"])
def test_the_encoder_of_a_videoprism_with_more_around_it(kind: str, tmp_path: Path) -> None:
    model = videoprism_folder(tmp_path / "whole", kind)
    encoder = model.video_model.vision_model if kind == "VideoPrismClipModel" else model.vision_model
    encoder.save_pretrained(tmp_path / "alone")
    whole, alone = (VideoPrism(str(tmp_path / name)) for name in ("whole", "alone"))
    assert whole.geometry() == alone.geometry() == TeacherGeometry(32, 14, 56, clip_frames=4)
    assert whole.load().weights_sha256() == alone.load().weights_sha256()
    with torch.no_grad():
        expected = encoder(pixels(4) / 255).last_hidden_state
    torch.testing.assert_close(whole.load()(pixels(4)).tokens_BTHWC.reshape(2, -1, 32), expected, **EXACT)


def test_a_clip_sees_itself_whole_and_nothing_else(source: TeacherSource) -> None:
    """So neither what fills up a batch nor the window that a video is read by changes the tokens of a clip."""
    teacher = source.load()
    frames = pixels()
    tokens_BTHWC = teacher(frames).tokens_BTHWC
    groups = tokens_BTHWC.shape[1] // 2
    torch.testing.assert_close(teacher(frames[:1, 4:]).tokens_BTHWC[0], tokens_BTHWC[0, groups:], **EXACT)
    changed = frames.clone()
    changed[:, -1] ^= 255
    other_BTHWC = teacher(changed).tokens_BTHWC
    assert torch.equal(other_BTHWC[:, :groups], tokens_BTHWC[:, :groups])
    assert ((other_BTHWC - tokens_BTHWC)[:, groups:].abs().amax((-1, -2, -3)) > 1e-4).all(), "attention over time"


def test_wap_pools_blocks_of_tokens_not_of_frames(source: TeacherSource) -> None:
    """Both make one token of 4 frames and 2 x 2 patches; of V-JEPA 2 these are two tubelets."""
    teacher = source.load()
    vision = teacher(pixels())
    block = teacher.geometry.block()
    assert block == ((2, 2, 2) if isinstance(source, VJEPA2) else (4, 2, 2))
    assert teacher.geometry.cell(block) == (4, 28, 28)
    tokens_BTHWC = vision.tokens_BTHWC
    pooled = WAP(block, saliency="norm")(vision)
    assert pooled.shape == (2, 2, 2, 2, teacher.hidden_size)
    steps = block[0]
    for group, row, column in ((0, 0, 0), (1, 1, 0), (1, 0, 1)):
        rows, columns = slice(2 * row, 2 * row + 2), slice(2 * column, 2 * column + 2)
        of_block = tokens_BTHWC[:, group * steps : (group + 1) * steps, rows, columns].flatten(1, 3)
        weights = (of_block.norm(dim=-1) / teacher.hidden_size**0.5).softmax(-1)
        expected = (weights[..., None] * of_block).sum(1)
        torch.testing.assert_close(pooled[:, group, row, column], expected, **EXACT)


def test_a_teacher_of_clips_is_frozen_and_compiled_for_none(source: TeacherSource) -> None:
    teacher = source.load()
    assert not any(module.training for module in teacher.train().modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters()) and teacher.state_dict() == {}
    assert not teacher(pixels(4)).tokens_BTHWC.requires_grad
    with pytest.raises(ConfigError, match="torch-compile .* makes its tokens of 4 frames together"):
        teacher.freeze_frames()


def test_half_precision_is_close(source: TeacherSource) -> None:
    """At other sizes and in other clips, too, of which torch interpolates no positions in bfloat16 on a CPU."""
    for clip_frames, frames in ((4, pixels(4)), (4, pixels(4, 28, 84)), (8, pixels(8, 84, 84))):
        exact = replace(source, clip_frames=clip_frames).load()  # type: ignore[type-var]
        expected = exact(frames).tokens_BTHWC
        tokens_BTHWC = exact.to(torch.bfloat16)(frames).tokens_BTHWC
        assert tokens_BTHWC.dtype == torch.bfloat16
        assert (tokens_BTHWC - expected).norm() < 0.03 * expected.norm()


def test_geometry_comes_without_weights(source: TeacherSource) -> None:
    teacher = source.load("eager")
    (Path(source.source) / "model.safetensors").unlink()
    assert source.geometry() == teacher.geometry and teacher.attention == "eager"
    assert teacher.describe()["clip_frames"] == 4, "and a store says of how many frames"
    frames = teacher_frames(teacher, WAP(teacher.geometry.block(), saliency="norm"))
    assert (frames.image_size, frames.clip_frames) == ((56, 56), 4)
    for count, legal in ((6, "4 or 8"), (9, "8 or 12")):
        with pytest.raises(GeometryError, match=rf"{count} frames: a clip of this teacher has 4 .*{legal}"):
            teacher(pixels(count))
    with pytest.raises(GeometryError, match=r"width 60 is not a multiple of 14 px"):
        teacher(pixels(4, 56, 60))


def test_clips_that_the_data_do_not_fill_are_refused_by_name(tmp_path: Path) -> None:
    vjepa2_folder(tmp_path)
    source = VJEPA2(str(tmp_path), 6)
    teacher, whole = source.load(), WAP((3, 2, 2), saliency="norm")
    for wap in (whole, WAP((1, 2, 2), saliency="norm")):
        assert teacher_frames(teacher, wap).clip_frames == 6, "a clip of the teacher"
        check_teacher(teacher, source, wap, (56, 56), 12)
    straddling = r"model\.block takes 4 frames, which do not divide model\.teacher\.clip_frames 6, so a target"
    with pytest.raises(ConfigError, match=straddling):
        check_teacher(teacher, source, WAP((2, 2, 2), saliency="norm"), (56, 56), 12)
    with pytest.raises(ConfigError, match=r"model\.block takes 6 frames, which do not divide data\.clip_frames 4"):
        check_teacher(teacher, source, whole, (56, 56), 4)
    with pytest.raises(ConfigError, match=r"sees clips of 6 frames, which do not divide data\.clip_frames 4"):
        check_teacher(teacher, source, WAP((1, 2, 2), saliency="norm"), (56, 56), 4)
    for odd in (3, 0, -2, 1026):
        said = rf"model\.teacher\.clip_frames is {odd}; .* spans 2 frames, so give a multiple of 2 from 2 to 1024"
        with pytest.raises(ConfigError, match=said):
            VJEPA2(str(tmp_path), odd).geometry()
    with pytest.raises(ConfigError, match=r"model\.teacher\.clip_frames is 0; give a whole number from 1 to 1024"):
        TeacherGeometry(8, 14).in_clips_of(0, "model.teacher.clip_frames")
    assert VJEPA2(str(tmp_path), None).geometry() == TeacherGeometry(48, 14, 56, frames=2, clip_frames=4)
    assert VJEPA2(str(tmp_path)).geometry().clip_frames == 16


def test_pixels_are_those_of_the_video_processor(source: TeacherSource) -> None:
    folder = Path(source.source)
    expected = IMAGENET_MEAN if isinstance(source, VJEPA2) else (0.0, 0.0, 0.0)
    assert source.load().mean == pytest.approx(expected)
    (folder / "video_preprocessor_config.json").unlink()
    assert source.load().mean == pytest.approx(expected), "the family's own"
    changed = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.9] * 3}))
    (folder / "video_preprocessor_config.json").write_text(json.dumps(changed))
    assert (source.load().mean, source.load().std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    nested = folder / "processor_config.json"
    nested.write_text(json.dumps({"processor_class": "P", "image_processor": {"image_mean": [0.9] * 3}}))
    assert source.load().mean == (0.1, 0.2, 0.3), "what is nested there is of another processor"
    nested.write_text(json.dumps({"video_processor": {"image_mean": [0.7] * 3}}))
    assert source.load().mean == (0.7, 0.7, 0.7)
    nested.write_text(json.dumps({"video_processor": {"rescale_factor": 1 / 127}}))
    with pytest.raises(ConfigError, match=r"processor_config\.json: only processors that scale pixels by 1/255"):
        source.load()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"patch_size": [14, 28]}, r"patch_size of config\.json is \[14, 28\]"),
        ({"patch_size": 7}, r"embeddings\.proj\.weight of VJEPA2Encoder has the shape \(48, 3, 2, 14, 14\).*7, 7\)"),
        ({"tubelet_size": 4}, r"embeddings\.proj\.weight of VJEPA2Encoder has the shape"),
        ({"tubelet_size": 0}, "tubelet_size is 0"),
        ({"crop_size": 10**9}, "crop_size is 1000000000"),
        ({"in_chans": 1}, r"in_chans of config\.json is 1; only encoders of 3 colours"),
        ({"frames_per_clip": 2048}, r"frames_per_clip of config\.json is 2048; .* from 2 to 1024"),
        ({"frames_per_clip": 5}, r"frames_per_clip of config\.json is 5; .* spans 2 frames"),
        ({"num_hidden_layers": 3}, "missing weights in VJEPA2Encoder, first layer"),
        ({"hidden_size": 50}, "cannot be built"),
        ({"use_rope_interleave": True}, "use_rope_interleave of config.json is True, so it is a V-JEPA 2.1"),
        ({"hierarchical_layers": [0, 1]}, r"hierarchical_layers of config\.json is \[0, 1\], so it is a V-JEPA 2\.1"),
    ],
)
def test_a_vjepa2_folder_that_does_not_fit_is_refused_by_field(
    fields: dict[str, Any], said: str, tmp_path: Path
) -> None:
    vjepa2_folder(tmp_path)
    change(tmp_path, **fields)
    with pytest.raises(ConfigError, match=said) as error:
        VJEPA2(str(tmp_path)).load()
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"tubelet_size": [2, 14, 14]}, r"tubelet_size of config\.json is \[2, 14, 14\]"),
        ({"tubelet_size": [1, 14, 28]}, r"tubelet_size of config\.json is \[1, 14, 28\]"),
        ({"tubelet_size": [14, 14]}, r"tubelet_size of config\.json is \[14, 14\]"),
        ({"tubelet_size": [1, 28, 28]}, r"projection\.weight of VideoPrismVisionModel has the shape"),
        ({"image_size": [56, 28]}, r"image_size of config\.json is 56 x 28; only squares"),
        ({"num_channels": 4}, r"num_channels of config\.json is 4; only encoders of 3 colours"),
        ({"num_frames": 0}, "num_frames is 0"),
        ({"num_frames": 8}, r"temporal_embeddings\.position_embeddings .* has the shape \(1, 4, 32\)"),
        ({"num_temporal_layers": 2}, r"missing weights in VideoPrismVisionModel, first temporal_layers\.1"),
    ],
)
def test_a_videoprism_folder_that_does_not_fit_is_refused_by_field(
    fields: dict[str, Any], said: str, tmp_path: Path
) -> None:
    videoprism_folder(tmp_path)
    change(tmp_path, **fields)
    with pytest.raises(ConfigError, match=said) as error:
        VideoPrism(str(tmp_path)).load()
    assert str(tmp_path) in str(error.value)


def test_what_is_no_such_model_is_refused(source: TeacherSource, tmp_path: Path) -> None:
    siglip_folder(tmp_path / "siglip")
    other: TeacherSource = VideoPrism(source.source) if isinstance(source, VJEPA2) else VJEPA2(source.source)
    for wrong, message in (
        (other, r"model_type '\w+' is not of the (V-JEPA 2|VideoPrism) family"),
        (Siglip(source.source), r"model_type '\w+' is not of the SigLIP family"),
        (type(source)(str(tmp_path / "siglip")), "model_type 'siglip' is not of the"),  # type: ignore[call-arg]
        (type(source)(str(tmp_path / "nowhere")), "no model folder"),  # type: ignore[call-arg]
    ):
        with pytest.raises(ConfigError, match=message):
            wrong.geometry()
    if isinstance(source, VideoPrism):
        with pytest.raises(ConfigError, match="attention is 'sdpa'; VideoPrism caps .* give eager or null"):
            source.load("sdpa")
    path = Path(source.source) / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("mlp.fc1.bias") and "predictor" not in name)
    save_file({other: value for other, value in tensors.items() if other != name}, path, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=rf"{source.source}: 1 missing weights in .*mlp\.fc1\.bias"):
        source.load()


def test_the_predictor_of_a_vjepa2_takes_no_memory(tmp_path: Path) -> None:
    """Its weights are not read, so none of them bounds its config: this one would take terabytes."""
    vjepa2_folder(tmp_path)
    expected = VJEPA2(str(tmp_path), 4).load()(pixels(4)).tokens_BTHWC
    change(tmp_path, pred_mlp_ratio=1e9)
    teacher = VJEPA2(str(tmp_path), 4).load()
    assert teacher.attention == "sdpa" and torch.equal(teacher(pixels(4)).tokens_BTHWC, expected)


def test_a_vjepa2_whose_positions_cannot_be_set_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vjepa2_folder(tmp_path)
    made = VJEPA2RopeAttention.__init__

    def without_grid(self: Any, *args: Any) -> None:
        made(self, *args)
        del self.grid_size

    monkeypatch.setattr(VJEPA2RopeAttention, "__init__", without_grid)
    with pytest.raises(ConfigError, match=r"transformers \d.* has no grid_size in the attention of V-JEPA 2"):
        VJEPA2(str(tmp_path)).load()


def test_a_transformers_without_videoprism_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videoprism_folder(tmp_path / "videoprism")
    monkeypatch.delitem(CONFIG_MAPPING._mapping, "videoprism_vision_model")
    source = VideoPrism(str(tmp_path / "videoprism"))
    for read in (source.geometry, source.load):
        with pytest.raises(ConfigError, match=r"videoprism: VideoPrism needs transformers 5\.15 or later, and \d"):
            read()
    with pytest.raises(ConfigError, match=r"google/videoprism: VideoPrism needs transformers 5\.15 or later"):
        make_small_model("google/videoprism", "VideoPrism", tmp_path / "small")


def test_what_of_a_config_changes_tokens_and_no_weight_is_told(source: TeacherSource) -> None:
    before = source.load()
    changes = [{"num_attention_heads": 2}, {"layer_norm_eps": 1e-2}, {"hidden_act": "relu"}]
    changes += [{"attn_logit_softcapping": 1.0}] if isinstance(source, VideoPrism) else []
    config = Path(source.source) / "config.json"
    published = config.read_text()
    for fields in changes:
        change(Path(source.source), **fields)
        after = source.load()
        assert after.weights_sha256() == before.weights_sha256()
        assert not torch.allclose(after(pixels(4)).tokens_BTHWC, before(pixels(4)).tokens_BTHWC, **EXACT)
        told = before.describe() | {"config": before.describe()["config"] | fields}
        assert after.describe() == told != before.describe()
        config.write_text(published)
    change(Path(source.source), initializer_range=0.5, attention_probs_dropout_prob=0.3, transformers_version="4.0")
    assert (
        source.load().describe()
        == before.describe()
        == source.load("eager").describe() | {"attention": before.attention}
    )
