"""Video-Panda's layers: what loops over tokens give, how many tokens and operations, which frames see each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from liteframe.bench.floor import flops_of
from liteframe.data.transforms import normalize
from liteframe.errors import ConfigError, GeometryError
from liteframe.models.rivals.video_panda import QueryPooling, VideoPandaBackbone
from small_teachers import randomise

PATCH, HEADS = 4, 2
Grid = dict[tuple[int, ...], Tensor]
"""What stands at (frame, row, column)."""


@pytest.fixture(scope="module")
def backbone() -> VideoPandaBackbone:
    torch.manual_seed(0)
    made = VideoPandaBackbone((16, 24), width=12, patch_size=PATCH, heads=HEADS, clip_frames=3)
    return randomise(made).requires_grad_(False)  # type: ignore[return-value]


def frames(count: int, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (batch, count, 3, 16, 24), generator=generator).to(torch.uint8)


def attended(pooling: QueryPooling, query_C: Tensor, tokens: list[Tensor], scale: float) -> Tensor:
    """The query with its attention, from a key and a value of each token."""
    asked = pooling.query(pooling.query_norm(query_C))
    keys = [pooling.key(pooling.token_norm(token)) for token in tokens]
    values = [pooling.value(pooling.token_norm(token)) for token in tokens]
    mixed, wide = [], len(query_C) // HEADS
    for head in range(HEADS):
        part = slice(head * wide, (head + 1) * wide)
        shares = [float(torch.exp(scale * asked[part] @ key[part])) for key in keys]
        mixed.append(sum(share * value[part] for share, value in zip(shares, values, strict=True)) / sum(shares))
    return query_C + pooling.output(torch.cat(mixed))  # type: ignore[arg-type]


def convolved(grid: Grid, taps: Grid) -> Grid:
    """At each place the sum of its neighbours, a weight a channel and offset; there is nothing outside of the grid."""
    return {
        place: sum(  # type: ignore[misc]
            weight * grid[near]
            for offset, weight in taps.items()
            if (near := tuple(a + b for a, b in zip(place, offset, strict=True))) in grid
        )
        for place in grid
    }


def local(model: Any, patches: Grid) -> Grid:
    """The local encoding of a clip."""
    temporal = {(k - 1, 0, 0): model.temporal.weight[:, 0, k, 0] for k in range(3)}
    spatial = {
        (t - 1, i - 1, j - 1): model.spatial[t].weight[:, 0, i, j] for t in range(3) for i in range(3) for j in range(3)
    }
    inner = convolved({place: model.narrow(token) for place, token in patches.items()}, temporal)
    mixed = {p: patches[p] + model.widen(inner[p] + model.temporal.bias) for p in patches}
    around = convolved(mixed, spatial)
    return {p: mixed[p] + around[p] + model.bias for p in patches}


def loop_rows(model: VideoPandaBackbone, clip_TCHW: Tensor) -> list[list[Tensor]]:
    """Tokens of each frame of a clip, in the order of the LLM."""
    mean, std = (torch.tensor(each)[:, None, None] for each in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    pixels_TCHW = (clip_TCHW.float() / 255 - mean) / std
    count, rows, columns = len(clip_TCHW), clip_TCHW.shape[2] // PATCH, clip_TCHW.shape[3] // PATCH
    weight_CK = model.patch_embedding.weight.flatten(1)
    patches = {
        (t, i, j): weight_CK @ pixels_TCHW[t, :, PATCH * i : PATCH * (i + 1), PATCH * j : PATCH * (j + 1)].flatten()
        for t in range(count)
        for i in range(rows)
        for j in range(columns)
    }
    tokens = patches
    if count > 1:
        near, of_clip = local(model.local, patches), model.clip_token
        tokens = {p: near[p] + patches[p] for p in patches}
        clip = attended(of_clip.pooling, of_clip.token, list(near.values()), (model.width // HEADS) ** -0.5)
        hidden = of_clip.expand(of_clip.norm(clip))
        clip = clip + of_clip.contract(hidden / (1 + torch.exp(-1.702 * hidden)))
    found = []
    for t in range(count):
        squares = []
        for i in range(0, rows, 2):
            for j in range(0, columns, 2):
                square = [tokens[t, i + a, j + b] for a in range(2) for b in range(2)]
                squares.append(attended(model.downsampling, sum(square) / 4, square, model.width**-0.5))  # type: ignore[arg-type]
        own = attended(model.frame_pooling, model.frame_token, squares, model.width**-0.5)
        if count > 1:
            share = 1 / (1 + torch.exp(-model.balance))
            own = model.class_output(model.class_norm((1 - share) * clip + share * own))
        wide = columns // 2
        lines = [[*squares[first : first + wide], model.row_end] for first in range(0, len(squares), wide)]
        found.append([own, *(token for line in lines for token in line)])
    return found


@pytest.mark.parametrize(("count", "clips"), [(3, [3]), (1, [1]), (4, [3, 1]), (8, [3, 3, 2])])
def test_tokens_are_those_of_loops(backbone: VideoPandaBackbone, count: int, clips: list[int]) -> None:
    pixels = frames(count, batch=2)
    vision = backbone(pixels)
    assert vision.tokens_BTHWC.shape == (2, count, 1, 1 + 2 * (3 + 1), 12)
    assert vision.cls_BTC is not None and torch.equal(vision.cls_BTC, vision.tokens_BTHWC[:, :, 0, 0])
    parts = pixels[1].split(clips)
    expected = torch.stack([torch.stack(row) for part in parts for row in loop_rows(backbone, part)])
    torch.testing.assert_close(vision.tokens_BTHWC[1, :, 0], expected, rtol=1e-4, atol=1e-5)


def test_normalised_frames_give_the_tokens_of_their_bytes(backbone: VideoPandaBackbone) -> None:
    expected, found = backbone(frames(4)), backbone(normalize(frames(4)))
    torch.testing.assert_close(found.tokens_BTHWC, expected.tokens_BTHWC, rtol=1e-4, atol=1e-5)


def test_frames_see_those_of_their_clip_alone(backbone: VideoPandaBackbone) -> None:
    changed = frames(8)
    changed[:, 4] = 255 - changed[:, 4]
    before, after = backbone(frames(8)).tokens_BTHWC, backbone(changed).tokens_BTHWC
    differs = [not torch.equal(before[0, t], after[0, t]) for t in range(8)]
    assert differs == [False] * 3 + [True] * 3 + [False] * 2


def test_tokens_weights_and_operations_at_real_size() -> None:
    with torch.device("meta"):
        real = VideoPandaBackbone().requires_grad_(False)
        clip = torch.empty(1, 4, 3, 448, 448)
        assert real(clip).tokens_BTHWC.shape == (1, 4, 1, 16 * 17 + 1, 1024)
        found = flops_of(lambda: real(clip))
    patches, squares, C, inner, heads = 4 * 32 * 32, 4 * 16 * 16, 1024, 688, 8
    embedded = patches * C * 3 * 14 * 14
    local = patches * (2 * C * inner + 3 * inner + 27 * C)
    clip_token = 12 * C**2 + 2 * heads * C * patches
    pooled = 4 * C**2 * (squares + 4) + 2 * heads * C * (patches + squares)
    assert found == 2 * (embedded + local + clip_token + pooled + 4 * C**2)
    # What the official module of the same width has, without layers that it does not run, its batch norm and the biases
    # of keys; and six channels more, with their parts of three layers.
    official = 25_490_084 - (2 * C + C * 682 + 682 + 682 * 4 + 682 * C + C) - 2 * C - C
    assert sum(weight.numel() for weight in real.parameters()) == official + 6 * (2 * C + 5)


def test_a_pooling_without_keys_is_torchs_attention() -> None:
    torch.manual_seed(1)
    pooling = randomise(QueryPooling(8, 2, 0.5, bias=True)).requires_grad_(False)
    query, tokens = torch.randn(3, 8), torch.randn(3, 5, 8)
    normed = pooling.token_norm(tokens)  # type: ignore[operator]
    asked, keys, values = (
        each.unflatten(-1, (2, 4)).transpose(1, 2)
        for each in (
            pooling.query(pooling.query_norm(query))[:, None],  # type: ignore[operator]
            pooling.key(normed),  # type: ignore[operator]
            pooling.value(normed),  # type: ignore[operator]
        )
    )
    mixed = F.scaled_dot_product_attention(asked, keys, values, scale=0.5).flatten(1)
    torch.testing.assert_close(pooling(query, tokens), query + pooling.output(mixed))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 2, 3, 16, 20), "width 20 is not a multiple of 8 px"),
        ((2, 3, 16, 24), r"axes \(B, T, C, H, W\), got shape \(2, 3, 16, 24\)"),
    ],
)
def test_frames_that_do_not_fit_are_named(backbone: VideoPandaBackbone, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(GeometryError, match=message):
        backbone(torch.zeros(shape))


def test_settings_that_do_not_fit_are_named() -> None:
    with pytest.raises(ConfigError, match="heads is 5, which does not divide the width of 12 channels"):
        VideoPandaBackbone((16, 24), width=12, patch_size=PATCH, heads=5)
    with pytest.raises(GeometryError, match="height 20 is not a multiple of 8 px"):
        VideoPandaBackbone((20, 24), width=12, patch_size=PATCH, heads=HEADS)
