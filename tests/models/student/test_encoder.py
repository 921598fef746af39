from __future__ import annotations

import json
from dataclasses import fields
from inspect import signature
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from liteframe.data.transforms import normalize
from liteframe.errors import ConfigError, GeometryError
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.student.encoder_config import EncoderSettings
from liteframe.models.student.temporal import DepthwiseTemporalConv, StridedDownsample
from liteframe.ops.pooling import check_size
from ranks import run_ranks

CHECKPOINTING_RENAMED = "ignore:.gradient_checkpointing_enable. is deprecated:FutureWarning"


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def tiny_config(**changes) -> LiteFrameConfig:
    settings = {
        "image_size": 56,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "output_size": 24,
        "downsample_after": [1, 2],
        "initializer_range": 0.1,
    }
    return LiteFrameConfig(**{**settings, **changes})


def trained(encoder: LiteFrameEncoder) -> LiteFrameEncoder:
    """As if trained: no weight at the neutral value it starts with."""
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return encoder.eval()


@pytest.fixture
def encoder() -> LiteFrameEncoder:
    return trained(LiteFrameEncoder(tiny_config()))


@torch.no_grad()
def encode(encoder: LiteFrameEncoder, frames: Tensor) -> Tensor:
    return encoder(frames).last_hidden_state


class TestPixels:
    """uint8 frames give what they give once they are normalised."""

    @pytest.mark.parametrize("size", [(56, 56), (56, 112)])
    def test_tokens_and_gradients_are_those_of_normalised_frames(self, encoder, size):
        pixels = torch.randint(0, 256, (2, 6, 3, *size), dtype=torch.uint8)
        pixels[0, 0], pixels[0, 1] = 0, 255
        found = []
        for frames in (pixels, normalize(pixels)):
            encoder.zero_grad()
            tokens = encoder(frames).last_hidden_state
            tokens.square().sum().backward()
            found.append((tokens, [parameter.grad.clone() for parameter in encoder.parameters()]))
        (tokens, gradients), (expected, expected_gradients) = found
        torch.testing.assert_close(tokens, expected, rtol=1e-5, atol=1e-5)
        for gradient, other in zip(gradients, expected_gradients, strict=True):
            assert (gradient - other).norm() <= 1e-5 * other.norm()

    @torch.no_grad()
    def test_rounding_to_bfloat16_costs_no_more_than_before(self, encoder):
        pixels = torch.randint(0, 256, (2, 8, 3, 56, 56), dtype=torch.uint8)
        exact = encode(encoder, normalize(pixels))
        with torch.autocast("cpu", torch.bfloat16):
            errors = [(encode(encoder, frames) - exact).abs().mean() for frames in (pixels, normalize(pixels))]
        assert errors[0] < 1.2 * errors[1]
        encoder.to(torch.bfloat16)
        errors = [(encode(encoder, frames) - exact).abs().mean() for frames in (pixels, normalize(pixels))]
        assert errors[0] < 1.2 * errors[1]


class TestPaper:
    def test_default_is_the_papers_size(self):
        with torch.device("meta"):
            encoder = LiteFrameEncoder(LiteFrameConfig())
        assert 86e6 <= sum(parameter.numel() for parameter in encoder.parameters()) <= 88e6

    def test_shape_table(self):
        with torch.device("meta"):
            encoder = LiteFrameEncoder(LiteFrameConfig())
            frames = torch.empty(2, 8, 3, 448, 448)
        seen: list[tuple[int, ...]] = []
        for stage in encoder.downsamples.values():
            stage.register_forward_hook(lambda _m, ins, out: seen.extend([tuple(ins[0].shape), tuple(out.shape)]))
        features = encoder(frames).last_hidden_state
        assert [shape[1:4] for shape in seen] == [(4, 32, 32), (2, 16, 16), (2, 16, 16), (1, 16, 16)]
        assert all(shape[0] == 4 for shape in seen)
        assert features.shape == (2, 2, 16, 16, 1024)

    def test_temporal_convolutions_stand_where_a_clip_has_frames_left(self):
        with torch.device("meta"):
            encoder = LiteFrameEncoder(LiteFrameConfig())
        assert [block.temporal is not None for block in encoder.blocks] == [True] * 8 + [False] * 4
        assert list(encoder.downsamples) == ["4", "8"]


class TestConvolutions:
    @pytest.mark.parametrize("kernel", [1, 3, 5])
    def test_temporal_mixer_equals_conv1d(self, kernel):
        mixer = DepthwiseTemporalConv(6, kernel)
        reference = torch.nn.Conv1d(6, 6, kernel, padding=kernel // 2, groups=6)
        mixer.load_state_dict(reference.state_dict())
        tokens = torch.randn(3, 4, 5, 6)
        expected = tokens.permute(0, 2, 3, 1).flatten(0, 1)
        expected = expected + reference(expected)
        torch.testing.assert_close(mixer(tokens), expected.unflatten(0, (3, 5)).permute(0, 3, 1, 2))

    @pytest.mark.parametrize("stride", [(2, 2, 2), (2, 1, 1), (1, 2, 3), (4, 1, 2)])
    def test_downsample_equals_conv3d(self, stride):
        downsample = StridedDownsample(6, stride)
        reference = torch.nn.Conv3d(6, 6, stride, stride, groups=6)
        downsample.load_state_dict(reference.state_dict())
        tokens = torch.randn(2, 4, 6, 6, 6)
        expected = reference(tokens.permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1)
        torch.testing.assert_close(downsample(tokens), expected)

    def test_fresh_mixers_are_the_identity_and_fresh_downsamples_nearly_the_mean(self):
        encoder = LiteFrameEncoder(tiny_config())
        mixer = encoder.blocks[0].temporal
        tokens = torch.randn(2, 4, 16, 32)
        assert torch.equal(mixer(tokens), tokens)
        weight = encoder.downsamples["1"].weight
        assert weight.std() > 0 and (weight - 1 / 8).abs().max() < 0.1 and not encoder.downsamples["1"].bias.any()


class TestInvariants:
    def test_batch_of_two_equals_two_of_one(self, encoder):
        frames = torch.randn(2, 8, 3, 56, 56)
        both = encode(encoder, frames)
        for b in range(2):
            torch.testing.assert_close(both[b : b + 1], encode(encoder, frames[b : b + 1]))

    def test_clips_are_independent(self, encoder):
        frames = torch.randn(1, 12, 3, 56, 56)
        changed = frames.clone()
        changed[:, 4:8] += 1
        before, after = encode(encoder, frames), encode(encoder, changed)
        torch.testing.assert_close(before[:, [0, 2]], after[:, [0, 2]])
        assert (before[:, 1] - after[:, 1]).abs().max() > 1e-2

    def test_frames_of_a_clip_do_mix(self, encoder):
        frames = torch.randn(1, 4, 3, 56, 56)
        assert (encode(encoder, frames) - encode(encoder, frames.flip(1))).abs().max() > 1e-2

    def test_long_video_equals_its_clips(self, encoder):
        frames = torch.randn(1, 20, 3, 56, 56)
        clips = [encode(encoder, clip) for clip in frames.split(4, dim=1)]
        torch.testing.assert_close(encode(encoder, frames), torch.cat(clips, dim=1))

    @pytest.mark.parametrize("count", [1, 2, 3, 5, 6])
    def test_last_clip_is_padded_by_the_last_frame(self, encoder, count):
        frames = torch.randn(2, count, 3, 56, 56)
        padded = torch.cat([frames, frames[:, -1:].expand(-1, -count % 4, -1, -1, -1)], dim=1)
        with torch.no_grad():
            output = encoder(frames)
        torch.testing.assert_close(output.last_hidden_state, encode(encoder, padded))
        assert output.last_hidden_state.shape[1] == -(-count // 4)
        assert output.valid_frames.tolist() == [count, count]

    def test_valid_frames_of_the_caller_travel_along(self, encoder):
        valid = torch.tensor([5, 8])
        with torch.no_grad():
            assert torch.equal(encoder(torch.randn(2, 8, 3, 56, 56), valid).valid_frames, valid)

    def test_attention_kernels_agree(self, encoder):
        frames = torch.randn(1, 4, 3, 56, 56)
        for kernel in ("eager", "sdpa"):
            other = LiteFrameEncoder(tiny_config(attention=kernel)).eval()
            other.load_state_dict(encoder.state_dict())
            torch.testing.assert_close(encode(other, frames), encode(encoder, frames), rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("cast", ["autocast", "weights"])
    def test_bfloat16_stays_close(self, encoder, cast):
        frames = torch.randn(1, 6, 3, 56, 56)
        exact = encode(encoder, frames)
        if cast == "weights":
            encoder.bfloat16()
        with torch.autocast("cpu", torch.bfloat16, enabled=cast == "autocast"):
            rounded = encode(encoder, frames)
        assert rounded.dtype == torch.bfloat16
        assert (rounded.float() - exact).pow(2).mean() < 1e-3 * exact.pow(2).mean()

    def test_a_residual_in_float32_rounds_less_and_is_of_autocast_alone(self):
        torch.manual_seed(0)
        deep = {"num_hidden_layers": 12, "downsample_after": (4, 8)}
        plain, wide = (LiteFrameEncoder(tiny_config(**deep, residual_in_fp32=given)).eval() for given in (False, True))
        wide.load_state_dict(plain.state_dict())
        frames = torch.randn(2, 8, 3, 56, 56)
        exact = encode(plain, frames)
        assert torch.equal(encode(wide, frames), exact)
        with torch.autocast("cpu", torch.bfloat16):
            errors = [(encode(model, frames).float() - exact).pow(2).mean() for model in (plain, wide)]
        assert errors[1] < 0.8 * errors[0]
        assert encode(wide.bfloat16(), frames.bfloat16()).dtype == torch.bfloat16


class TestGeometry:
    @pytest.mark.parametrize(("height", "width"), [(56, 84), (112, 28), (28, 28)])
    def test_other_sizes_in_multiples(self, encoder, height, width):
        features = encode(encoder, torch.randn(1, 4, 3, height, width))
        assert features.shape == (1, 1, height // 28, width // 28, 24)

    def test_positions_follow_training_at_another_size(self, encoder):
        frames = torch.randn(1, 4, 3, 84, 56)
        first = encode(encoder, frames)
        encoder(frames).last_hidden_state.sum().backward()
        gradient = encoder.patch_embedding.position.grad
        assert gradient.abs().sum() > 0
        with torch.no_grad():
            encoder.patch_embedding.position += torch.randn_like(gradient)
        assert (encode(encoder, frames) - first).abs().max() > 1e-2

    @pytest.mark.parametrize(
        ("shape", "words"),
        [
            ((1, 4, 3, 60, 56), ["height 60", "28", "56 or 84"]),
            ((1, 4, 3, 56, 97), ["width 97", "84 or 112"]),
            ((1, 4, 3, 27, 57), ["height 27", "legal: 28", "width 57", "56 or 84"]),
            ((1, 4, 3, 0, 56), ["height 0"]),
            ((1, 0, 3, 56, 56), ["no frame"]),
            ((0, 4, 3, 56, 56), ["no frame"]),
            ((1, 4, 1, 56, 56), ["1 channels", "takes 3"]),
            ((4, 3, 56, 56), ["(B, T, C, H, W)"]),
        ],
    )
    def test_other_shapes_are_refused_by_name(self, encoder, shape, words):
        with pytest.raises(GeometryError) as caught:
            encoder(torch.zeros(shape))
        assert all(word in str(caught.value) for word in words)

    def test_integer_frames_and_misfit_valid_frames_are_refused(self, encoder):
        with pytest.raises(GeometryError, match=r"int64.*uint8"):
            encoder(torch.zeros(1, 4, 3, 56, 56, dtype=torch.int64))
        with pytest.raises(GeometryError, match="valid_frames_B"):
            encoder(torch.zeros(1, 4, 3, 56, 56), torch.tensor([4, 4]))

    def test_check_size(self):
        check_size(448, 56, multiple_of=56)
        with pytest.raises(GeometryError, match=r"width 84 .* 56 or 112"):
            check_size(56, 84, multiple_of=56)

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"downsample_after": [2, 1]}, "downsample_after"),
            ({"downsample_after": [1, 4]}, "downsample_after"),
            ({"downsample_strides": [[2, 2, 2]]}, "downsample_strides"),
            ({"downsample_strides": [[2, 2], [2, 1]]}, "downsample_strides"),
            ({"clip_frames": 2}, "clip_frames"),
            ({"num_attention_heads": 3}, "num_attention_heads"),
            ({"image_size": 60}, "image_size 60 .* 56 or 84"),
            ({"position_init": "zeros"}, "position_init"),
            ({"hidden_size": 30, "num_attention_heads": 3}, "sincos"),
            ({"attention": "flash"}, "attention"),
            ({"temporal_mixer": "lstm"}, "temporal_mixer"),
            ({"temporal_kernel": 2}, "temporal_kernel"),
        ],
    )
    def test_settings_that_contradict_are_refused_by_name(self, changes, field):
        with pytest.raises(ConfigError, match=field):
            LiteFrameEncoder(tiny_config(**changes))

    def test_plain_vit_and_clip_that_keeps_frames(self):
        plain = LiteFrameEncoder(tiny_config(clip_frames=1, downsample_after=[], downsample_strides=[]))
        assert encode(plain, torch.randn(1, 3, 3, 56, 56)).shape == (1, 3, 4, 4, 24)
        half = LiteFrameEncoder(tiny_config(downsample_after=[1], downsample_strides=[[2, 2, 2]]))
        assert encode(half, torch.randn(1, 7, 3, 56, 56)).shape == (1, 4, 2, 2, 24)
        still = LiteFrameEncoder(tiny_config(temporal_mixer="none"))
        assert not any("temporal" in name for name in still.state_dict())


class TestTraining:
    @pytest.mark.filterwarnings(CHECKPOINTING_RENAMED)
    @pytest.mark.parametrize("mode", ["plain", "checkpointing", "autocast"])
    def test_every_parameter_gets_a_gradient(self, mode):
        encoder = LiteFrameEncoder(tiny_config()).train()
        if mode == "checkpointing":
            encoder.gradient_checkpointing_enable()
        with torch.autocast("cpu", torch.bfloat16, enabled=mode == "autocast"):
            features = encoder(torch.randn(2, 8, 3, 56, 56)).last_hidden_state
        features.float().pow(2).mean().backward()
        for name, parameter in encoder.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name

    @pytest.mark.filterwarnings(CHECKPOINTING_RENAMED)
    def test_checkpointing_changes_no_gradient(self):
        encoder = trained(LiteFrameEncoder(tiny_config())).train()
        frames = torch.randn(1, 4, 3, 56, 56)
        runs: list[int] = []
        encoder.blocks[0].norm1.register_forward_hook(lambda *_: runs.append(1))
        gradients = []
        for checkpointing in (False, True):
            if checkpointing:
                encoder.gradient_checkpointing_enable()
            encoder.zero_grad()
            encoder(frames).last_hidden_state.pow(2).mean().backward()
            gradients.append([parameter.grad.clone() for parameter in encoder.parameters()])
        assert len(runs) == 1 + 2, "the backward pass runs each checkpointed block again"
        torch.testing.assert_close(gradients[0], gradients[1])

    def test_exports(self, encoder):
        frames = torch.randn(1, 6, 3, 56, 56)
        program = torch.export.export(encoder, (frames,))
        torch.testing.assert_close(program.module()(frames).last_hidden_state, encode(encoder, frames))


def gives_the_same(rank: int, folder: Path) -> None:
    model = LiteFrameEncoder.from_pretrained(folder)
    assert not model.training
    expected = load_file(folder / "expected.safetensors")
    assert torch.equal(encode(model, expected["frames"]), expected["features"])


class TestSaving:
    def test_bit_equal_in_another_process(self, encoder, tmp_path: Path):
        frames = torch.randn(1, 5, 3, 56, 84)
        encoder.save_pretrained(tmp_path)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        save_file({"frames": frames, "features": encode(encoder, frames)}, tmp_path / "expected.safetensors")
        torch.set_num_threads(threads)
        assert run_ranks(gives_the_same, 1, tmp_path) == [0]
        assert sorted(file.suffix for file in tmp_path.iterdir()) == [".json", ".safetensors", ".safetensors"]

    def test_config_survives(self, tmp_path: Path):
        config = tiny_config(temporal_mixer="none", attention="eager")
        config.save_pretrained(tmp_path)
        again = LiteFrameConfig.from_pretrained(tmp_path)
        assert again.to_dict() == config.to_dict() and again.stride == (4, 2, 2)
        assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "liteframe_encoder"

    @pytest.mark.parametrize(
        ("damage", "words"),
        [
            (lambda weights: weights.pop("head.weight"), ["missing: head.weight"]),
            (lambda weights: weights.update(extra=torch.zeros(1)), ["unexpected: extra"]),
            (lambda weights: weights.update({"norm.bias": torch.zeros(5)}), ["norm.bias", "(5,)", "(32,)"]),
        ],
    )
    def test_weights_that_do_not_fit_raise_by_name(self, encoder, tmp_path: Path, damage, words):
        encoder.save_pretrained(tmp_path)
        weights = load_file(tmp_path / "model.safetensors")
        damage(weights)
        save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ConfigError) as caught:
            LiteFrameEncoder.from_pretrained(tmp_path)
        assert all(word in str(caught.value) for word in [str(tmp_path), *words])

    def test_folder_without_weights_raises_by_name(self, tmp_path: Path):
        tiny_config().save_pretrained(tmp_path)
        with pytest.raises(ConfigError, match=str(tmp_path)):
            LiteFrameEncoder.from_pretrained(tmp_path)

    def test_a_cut_off_file_raises_by_name(self, encoder, tmp_path: Path):
        encoder.save_pretrained(tmp_path)
        path = tmp_path / "model.safetensors"
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(ConfigError, match=str(tmp_path)):
            LiteFrameEncoder.from_pretrained(tmp_path)

    def test_dtype_and_loading_info_pass_through(self, encoder, tmp_path: Path):
        encoder.save_pretrained(tmp_path)
        model, info = LiteFrameEncoder.from_pretrained(tmp_path, dtype=torch.bfloat16, output_loading_info=True)
        assert model.dtype == torch.bfloat16 and not info["missing_keys"]


def test_the_settings_of_a_stage_are_the_fields_of_the_config() -> None:
    own = [name for name in signature(LiteFrameConfig).parameters if name != "kwargs"]
    assert [field.name for field in fields(EncoderSettings)] == own
    assert EncoderSettings().given() == {}
    assert EncoderSettings(hidden_size=8, qkv_bias=False).given() == {"hidden_size": 8, "qkv_bias": False}
