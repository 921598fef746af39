"""AutoGaze: naming patches equals reading the whole sequence anew at each step; the encoder sees only those."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import InternVLVisionConfig, InternVLVisionModel

from liteframe.errors import ConfigError, GeometryError
from liteframe.models.rivals.autogaze import AutoGazeTeacher
from liteframe.models.rivals.gazing import GazeConfig, GazeModel
from liteframe.models.teachers import InternVLTeacher
from liteframe.models.teachers.internvl import pixel_shuffle
from small_teachers import randomise

GAZE = GazeConfig(
    image_size=24,
    patch_size=8,
    grids=(1, 2, 4),
    hidden_size=16,
    layers=2,
    heads=2,
    intermediate_size=24,
    patches_per_step=3,
    clip_frames=4,
    first=8,
    later=4,
)
"""A tile of 4 x 4 patches of the encoder, 21 of all scales; steps of 3, 3 and 2 patches, then of 3 and 1."""
PATCH, TILE = 14, 56


def tower(attention: str = "sdpa") -> InternVLVisionModel:
    config = InternVLVisionConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        image_size=[2 * TILE, 2 * TILE],
        patch_size=[PATCH, PATCH],
        attention_bias=True,
    )
    config._attn_implementation = attention
    model: InternVLVisionModel = randomise(InternVLVisionModel(config))  # type: ignore[assignment]
    return model


@pytest.fixture(scope="module")
def gaze() -> GazeModel:
    model: GazeModel = randomise(GazeModel(GAZE)).eval()  # type: ignore[assignment]
    with torch.no_grad():  # so that what is named depends on what was named before
        model.llama.embed_tokens.weight.mul_(5)
    return model


@pytest.fixture(scope="module")
def teacher(gaze: GazeModel) -> AutoGazeTeacher:
    made = AutoGazeTeacher(InternVLTeacher(tower()), GAZE)
    made.gaze.load_state_dict(gaze.state_dict())
    return made


def pixels(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def loop_tokens(gaze: GazeModel, clip_TCHW: Tensor) -> list[Tensor]:
    """Tokens (N, C) of each frame: patch by patch, and the convolution as a sum over the 27 neighbours."""
    net = gaze.frame_tokens
    T, side = len(clip_TCHW), GAZE.image_size // GAZE.patch_size
    normed = torch.zeros(T + 2, side + 2, side + 2, GAZE.hidden_size)
    for t in range(T):
        for y in range(side):
            for x in range(side):
                p = GAZE.patch_size
                part = clip_TCHW[t, :, y * p : (y + 1) * p, x * p : (x + 1) * p]
                value = (net.patches.weight * part).sum(dim=(1, 2, 3)) + net.patches.bias
                normed[t + 2, y + 1, x + 1] = net.norm(value)
    frames = []
    for t in range(T):
        tokens = []
        for y in range(side):
            for x in range(side):
                mixed = net.mix.bias.clone()  # type: ignore[union-attr]
                for dt in range(3):  # two frames before it and itself
                    for dy in range(3):
                        for dx in range(3):
                            mixed += net.mix.weight[:, :, dt, dy, dx] @ normed[t + dt, y + dy, x + dx]
                tokens.append(net.out(mixed.clamp(min=0)) + net.positions_NC[y * side + x])
        frames.append(torch.stack(tokens))
    return frames


def loop_named(gaze: GazeModel, clip_TCHW: Tensor) -> list[list[int]]:
    """What is named in each frame of one clip, reading the whole sequence without a cache before each step."""
    sequence, named = torch.zeros(0, GAZE.hidden_size), []
    for t, tokens_NC in enumerate(loop_tokens(gaze, clip_TCHW)):
        sequence = torch.cat([sequence, tokens_NC])
        names: list[int] = []
        while len(names) < GAZE.counts(t + 1)[t]:
            hidden = gaze.llama(inputs_embeds=sequence[None], use_cache=False).last_hidden_state[0, -1]
            step = []
            for scores in gaze.head(hidden).split(GAZE.patches + 1):
                if len(names) + len(step) == GAZE.counts(t + 1)[t]:
                    break
                allowed = [number for number in range(GAZE.patches) if number not in names + step]
                step.append(max(allowed, key=lambda number: float(scores[number])))
            names += step
            sequence = torch.cat([sequence, gaze.llama.embed_tokens(torch.tensor(step))])
        named.append(names)
    return named


@torch.no_grad()
def test_cached_and_batched_it_names_what_the_whole_sequence_names(gaze: GazeModel) -> None:
    clips = pixels(2, 4, 3, GAZE.image_size, GAZE.image_size)
    found = gaze(clips)
    assert [tuple(ids.shape) for ids in found] == [(2, 8), (2, 4), (2, 4), (2, 4)]
    for number, clip in enumerate(clips):
        assert [ids[number].tolist() for ids in found] == loop_named(gaze, clip)
    assert not torch.equal(found[0][0], found[0][1]), "what is named depends on the clip"
    assert all(ids.max() < GAZE.patches and len(set(row.tolist())) == len(row) for ids in found for row in ids)


@torch.no_grad()
def test_a_later_frame_does_not_change_what_was_named(gaze: GazeModel) -> None:
    clip = pixels(1, 4, 3, GAZE.image_size, GAZE.image_size)
    for whole, part in zip(gaze(clip), gaze(clip[:, :2]), strict=False):
        assert torch.equal(whole, part)


@torch.no_grad()
def test_no_token_goes_through_the_llama_twice(gaze: GazeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths, forward = [], gaze.llama.forward

    def noted(**inputs: object) -> object:
        lengths.append(inputs["inputs_embeds"].shape[1])  # type: ignore[attr-defined]
        return forward(**inputs)

    monkeypatch.setattr(gaze.llama, "forward", noted)
    gaze(pixels(2, 3, 3, GAZE.image_size, GAZE.image_size))
    # 9 tokens of a frame, with what the last step of the previous frame named.
    assert lengths == [9, 3, 3, 2 + 9, 3, 1 + 9, 3]
    assert len(lengths) == GAZE.steps(3)


def test_released_sizes() -> None:
    config = GazeConfig()
    assert (config.patches, config.tokens, config.steps(16), sum(config.counts(16))) == (265, 196, 36, 278)
    # The example of the authors' QUICK_START names 198 and then 10 in each frame.
    assert replace(config, first=198, later=10).steps(16) == 35
    with torch.device("meta"):
        weights = sum(weight.numel() for weight in GazeModel(config).parameters())
    assert weights == 3_258_240 - 192 * 10, "the released model's, without the head that says when to stop"


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_all_patches_of_one_scale_are_the_plain_encoder(attention: str) -> None:
    model = tower(attention)
    plain = InternVLTeacher(model)
    teacher = AutoGazeTeacher(plain, GAZE)
    frames = pixels(2, 1, 3, 2 * TILE, 2 * TILE)
    finest = torch.arange(4 * 5, 4 * 21).expand(2, -1)
    found = teacher.encode_patches(frames, [finest])
    torch.testing.assert_close(found.unflatten(1, (1, 8, 8)), plain(frames).tokens_BTHWC)
    half = functional.interpolate(frames[:, 0], (TILE, TILE), mode="bicubic", align_corners=False)
    found = teacher.encode_patches(frames, [torch.arange(4, 4 * 5).expand(2, -1)])
    torch.testing.assert_close(found.unflatten(1, (1, 4, 4)), plain(half[:, None]).tokens_BTHWC)


@torch.no_grad()
def test_a_token_sees_its_frame_and_those_before(teacher: AutoGazeTeacher) -> None:
    clips = pixels(1, 3, 3, TILE, TILE)
    named = [torch.tensor([[0, 3, 7]]), torch.tensor([[1, 20]]), torch.tensor([[5]])]
    whole = teacher.encode_patches(clips, named)
    for frame, begin in enumerate((0, 3, 5)):
        other = clips.clone()
        other[:, frame] = 0
        changed = (teacher.encode_patches(other, named) != whole).any(dim=-1)[0]
        assert changed[begin:].all() and not changed[:begin].any()
    alone = teacher.encode_patches(clips[:, 1:2], named[1:2])
    assert not torch.allclose(whole[:, 3:5], alone), "the frame before is seen"


@torch.no_grad()
def test_patches_of_tiles_are_those_of_the_frame(teacher: AutoGazeTeacher) -> None:
    """Each tile's patches are looked for in the frame by where they are."""
    clips = pixels(1, 2, 3, TILE, 2 * TILE)
    named = teacher.named(clips)
    expected: list[list[int]] = [[], []]
    starts = {1: 0, 2: 2, 4: 10}  # of 1, 4 and 16 patches a tile
    for tile in range(2):
        for frame, ids in enumerate(teacher.gaze(own_pixels(clips[..., tile * TILE : (tile + 1) * TILE]))):
            for number in ids[0].tolist():
                side = 1 if number == 0 else 2 if number < 5 else 4
                row, column = divmod(number - {1: 0, 2: 1, 4: 5}[side], side)
                expected[frame].append(starts[side] + row * 2 * side + tile * side + column)
    assert [ids[0].tolist() for ids in named] == [sorted(numbers) for numbers in expected]


def own_pixels(frames: Tensor) -> Tensor:
    """Frames normalised as ImageNet is, as the official processor gives them: 2 x - 1, then ImageNet's again."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return ((frames * std + mean) * 2 - 1 - mean) / std


@torch.no_grad()
def test_tokens_of_clips_are_joined_by_fours_in_their_order(teacher: AutoGazeTeacher) -> None:
    frames = pixels(1, 8, 3, TILE, TILE)
    tokens = teacher(frames).tokens_BTHWC
    assert tokens.shape == (1, 2, 2, 10, 32)
    for clip in range(2):
        part = frames[:, 4 * clip : 4 * clip + 4]
        plain = teacher.encode_patches(part, teacher.named(part))
        joined = pixel_shuffle(tokens[:, clip], 0.5)
        torch.testing.assert_close(joined[:, 0], plain.unflatten(1, (5, 4)).flatten(2))
    assert teacher(frames[:, :2]).tokens_BTHWC.shape == (1, 1, 2, 6, 32)


def test_what_it_cannot_take_is_named(teacher: AutoGazeTeacher) -> None:
    assert (teacher.size_multiple, teacher.image_size) == ((TILE, TILE), (2 * TILE, 2 * TILE))
    with pytest.raises(GeometryError, match=r"height 84 is not a multiple of 56 px \(nearest legal: 56 or 112\)"):
        teacher(torch.zeros(1, 1, 3, 84, 56))
    with pytest.raises(GeometryError, match=r"6 frames: clips .* 4, .*nearest legal: 4 or 8\)"):
        teacher(torch.zeros(1, 6, 3, 56, 56))
    odd = AutoGazeTeacher(InternVLTeacher(tower()), replace(GAZE, first=5))
    with pytest.raises(GeometryError, match="5 tokens of a clip of 1 frames cannot be joined by fours"):
        odd(torch.zeros(1, 1, 3, 56, 56))
    with pytest.raises(GeometryError, match="a clip of 5 frames: the gaze model takes 4"):
        odd.gaze(torch.zeros(1, 5, 3, 24, 24))
    with pytest.raises(ConfigError, match="later is 22; a frame has 21 patches"):
        replace(GAZE, later=22)


def test_it_is_frozen_and_tells_its_counts(teacher: AutoGazeTeacher) -> None:
    assert not any(weight.requires_grad for weight in teacher.parameters())
    assert {"first": 8, "later": 4, "clip_frames": 4}.items() <= teacher.describe().items()
