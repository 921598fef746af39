from __future__ import annotations

from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file
from timm.layers import HybridEmbed
from timm.models.vision_transformer import ResPostBlock, VisionTransformer
from torch import nn
from torch.nn import functional

from liteframe.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from liteframe.errors import ConfigError
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.student.init_from_timm import load_timm_weights
from liteframe.models.student.temporal import TEMPORAL_MIXERS
from liteframe.models.student.vit import resize_positions
from small_teachers import timm_folder


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def small_vit(**changes) -> VisionTransformer:
    """A timm ViT with random biases, norms and positions, so that no weight is at a neutral value."""
    settings = {
        "img_size": 56,
        "patch_size": 14,
        "embed_dim": 48,
        "depth": 3,
        "num_heads": 3,
        "class_token": False,
        "global_pool": "",
        "num_classes": 0,
    }
    model = VisionTransformer(**{**settings, **changes}).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def small_encoder(**changes) -> LiteFrameEncoder:
    settings = {
        "image_size": 56,
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "output_size": 8,
        "clip_frames": 1,
        "downsample_after": [],
        "downsample_strides": [],
    }
    return LiteFrameEncoder(LiteFrameConfig(**{**settings, **changes})).eval()


def block_outputs(model: torch.nn.Module, modules: list[torch.nn.Module], run) -> list[torch.Tensor]:
    outputs: list[torch.Tensor] = []
    hooks = [module.register_forward_hook(lambda _m, _i, out: outputs.append(out)) for module in modules]
    with torch.no_grad():
        run(model)
    for hook in hooks:
        hook.remove()
    return outputs


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("clip", [1, 4], ids=["frames", "clips with fresh temporal convolutions"])
@pytest.mark.parametrize("timm_settings", [{}, {"init_values": 0.5}], ids=["plain", "layer scale"])
def test_every_block_equals_timm(attention, clip, timm_settings):
    vit, encoder = small_vit(**timm_settings), small_encoder(attention=attention, clip_frames=clip)
    fresh = load_timm_weights(encoder, vit)
    assert all(name.startswith("head.") or ".temporal." in name for name in fresh)
    assert {"head.weight", "head.bias"} <= set(fresh)

    frames = torch.randn(4, 3, 56, 56)
    ours = block_outputs(encoder, [*encoder.blocks, encoder.norm], lambda model: model(frames[None]))
    theirs = block_outputs(vit, [*vit.blocks, vit.norm], lambda model: model(frames))
    assert len(ours) == len(theirs) == 4
    for own, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, their, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("activation", "tolerance"), [("gelu", 1e-4), ("gelu_tanh", 1e-2)])
def test_a_siglip_with_its_own_pixels_patches_and_pooling(bias, activation, tolerance):
    vit, encoder = small_vit(global_pool="map", patch_size=7, img_size=28, act_layer=activation), small_encoder()
    vit.pretrained_cfg = {"mean": (0.5, 0.4, 0.3), "std": (0.5, 0.6, 0.7)}
    if not bias:
        vit.patch_embed.proj.bias = None
    assert any(name.startswith("attn_pool.") for name in vit.state_dict())
    assert load_timm_weights(encoder, vit) == ["head.weight", "head.bias"]

    # What has twice the side by the resampling's own filter has the same patch embeddings.
    pixels = torch.rand(2, 3, 7, 7).repeat(1, 1, 4, 4)
    twice = functional.interpolate(pixels[..., :7, :7], 14, mode="bicubic", antialias=True).repeat(1, 1, 4, 4)
    mean, std = torch.tensor([0.5, 0.4, 0.3])[:, None, None], torch.tensor([0.5, 0.6, 0.7])[:, None, None]
    own = (twice - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[:, None, None]
    ours = block_outputs(encoder, [*encoder.blocks, encoder.norm], lambda model: model(own[None]))
    theirs = block_outputs(vit, [*vit.blocks, vit.norm], lambda model: model((pixels - mean) / std))
    for own_output, their_output in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own_output, their_output, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "timm_settings", [{"num_classes": 5}, {"reg_tokens": 2}, {"reg_tokens": 2, "no_embed_class": True}]
)
def test_class_and_register_tokens_are_left_out_and_positions_resized(timm_settings):
    vit = small_vit(img_size=84, class_token=True, global_pool="token", **timm_settings)
    encoder = small_encoder()
    load_timm_weights(encoder, vit)
    patches = vit.pos_embed.detach()[:, -36:]
    torch.testing.assert_close(encoder.patch_embedding.position.detach(), resize_positions(patches, (6, 6), (4, 4)))


def test_fresh_weights_stay_and_are_listed():
    vit = small_vit()
    encoder = small_encoder(clip_frames=4, downsample_after=[1], downsample_strides=[[2, 2, 2]])
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    fresh = load_timm_weights(encoder, vit)
    assert {"downsamples.1.weight", "blocks.0.temporal.weight", "head.weight"} <= set(fresh)
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name]) == (name in fresh), name


@pytest.mark.parametrize("mixer", TEMPORAL_MIXERS)
def test_weights_of_a_mixer_are_left_alone_and_listed(mixer):
    encoder = small_encoder(clip_frames=4, temporal_mixer=mixer)
    own = {name: value.clone() for name, value in encoder.state_dict().items() if "tempor" in name or "frame_" in name}
    fresh = load_timm_weights(encoder, small_vit())
    assert set(fresh) == {*own, "head.weight", "head.bias"}
    assert all(torch.equal(encoder.state_dict()[name], value) for name, value in own.items())


@pytest.mark.parametrize(
    ("encoder_settings", "timm_settings", "word"),
    [
        ({"num_hidden_layers": 2}, {}, "num_hidden_layers"),
        ({"num_attention_heads": 4}, {}, "num_attention_heads"),
        ({"layer_norm_eps": 1e-5}, {}, "layer_norm_eps"),
        ({"hidden_size": 24}, {}, "patch_embed.proj.weight"),
        ({"mlp_ratio": 2.0}, {}, "blocks.0.mlp.fc1.weight"),
        ({"qkv_bias": False}, {}, "blocks.0.attn.qkv.bias"),
        ({}, {"qk_norm": True}, "blocks.0.attn.q_norm.weight"),
        ({}, {"pre_norm": True}, "norm_pre.weight"),
        ({}, {"act_layer": "silu"}, "GELU"),
        ({}, {"block_fn": ResPostBlock}, "block 0 is a ResPostBlock"),
        ({}, {"embed_layer": partial(HybridEmbed, nn.Conv2d(3, 8, 1))}, "tokens by HybridEmbed"),
        ({}, {"in_chans": 1}, "num_channels is 3, the timm model has 1"),
    ],
)
def test_what_does_not_fit_raises_and_changes_nothing(encoder_settings, timm_settings, word):
    encoder = small_encoder(**encoder_settings)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    with pytest.raises(ConfigError, match=word):
        load_timm_weights(encoder, small_vit(**timm_settings))
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_by_name_and_other_families():
    encoder = LiteFrameEncoder(
        LiteFrameConfig(image_size=224, patch_size=16, hidden_size=192, num_attention_heads=3, output_size=8,
                        downsample_after=[], downsample_strides=[], temporal_mixer="none")
    )  # fmt: skip
    assert load_timm_weights(encoder, "vit_tiny_patch16_224") == ["head.weight", "head.bias"]
    with pytest.raises(ConfigError, match="not a timm vision transformer"):
        load_timm_weights(encoder, "resnet10t")


def test_from_a_folder_that_timm_wrote_or_the_weights_in_it(tmp_path):
    vit = timm_folder(tmp_path / "vit", img_size=84, embed_dim=48, depth=3, num_heads=3, name="vit_tiny_patch16_224",
                      patch_size=14)  # fmt: skip
    expected = small_encoder()
    load_timm_weights(expected, vit)
    for source in (tmp_path / "vit", tmp_path / "vit" / "model.safetensors"):
        encoder = small_encoder()
        fresh = load_timm_weights(encoder, str(source), pretrained=True)
        assert fresh == ["head.weight", "head.bias"]
        for name, value in encoder.state_dict().items():
            assert torch.equal(value, expected.state_dict()[name]) or name in fresh, name


def test_a_folder_or_file_that_is_not_timms_is_refused_by_name(tmp_path):
    vit = timm_folder(tmp_path / "vit", embed_dim=48, depth=3, num_heads=3)
    assert vit is not None
    weights = load_file(tmp_path / "vit" / "model.safetensors")
    weights.pop("blocks.1.norm1.weight")
    save_file(weights, tmp_path / "vit" / "model.safetensors")
    odd = tmp_path / "weights.pth"
    odd.write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    for source, words in (
        (tmp_path / "vit", r"(?s)vit: timm cannot make this model .*blocks\.1\.norm1\.weight"),
        (odd, r"weights\.pth: not the model\.safetensors of a folder that timm wrote"),
        (tmp_path / "empty", "empty: timm cannot make this model"),
        (tmp_path / "nowhere", "nowhere: timm cannot make this model"),
        ("vit_of_nobody", "vit_of_nobody: timm cannot make this model"),
    ):
        with pytest.raises(ConfigError, match=words):
            load_timm_weights(small_encoder(), str(source), pretrained=True)
