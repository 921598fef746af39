"""ToMe inside the teacher: without merges the teacher itself, with them what a loop over one layer gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import InternVLVisionConfig, InternVLVisionModel

from liteframe.errors import ConfigError
from liteframe.models.backbone import WAP
from liteframe.models.rivals.tome_vit import MergedTokens, ToMeTeacher, merging_layer
from liteframe.models.teachers import InternVLTeacher
from small_teachers import randomise

VARIANTS = {
    "as the 300M": {"attention_bias": True},
    "as the 6B": {"use_qk_norm": True, "norm_type": "rms_norm"},
    "mean pooling": {"use_mean_pooling": True},
    "last norm": {"use_mean_pooling": False},
}


def tower(attention: str = "sdpa", **changes: object) -> InternVLVisionModel:
    config = InternVLVisionConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        image_size=[56, 56],
        patch_size=[14, 14],
        **changes,
    )
    config._attn_implementation = attention
    model: InternVLVisionModel = randomise(InternVLVisionModel(config))  # type: ignore[assignment]
    return model


def frames(batch: int = 2, count: int = 4) -> Tensor:
    return torch.randn(batch, count, 3, 56, 56, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_without_merges_it_is_the_teacher(name: str, attention: str) -> None:
    for layer in (-1, 2):
        plain = InternVLTeacher(tower(attention, **VARIANTS[name]), feature_layer=layer, mean=(0.2, 0.3, 0.4))
        without_merges_it_is(plain)


def without_merges_it_is(plain: InternVLTeacher) -> None:
    merging = ToMeTeacher(plain, 0)
    assert merging.mean == plain.mean
    expected, found = plain(frames()), merging(frames())
    assert torch.equal(found.tokens_BTHWC, expected.tokens_BTHWC)
    assert expected.cls_BTC is not None and found.cls_BTC is not None
    assert torch.equal(found.cls_BTC, expected.cls_BTC)


@pytest.mark.parametrize("merges", [1, 3, 5, 100])
def test_sizes_sum_to_the_patches_and_the_grid_is_whole(merges: int) -> None:
    teacher = ToMeTeacher(InternVLTeacher(tower()), merges)
    merged = teacher.merged(frames().flatten(0, 1))
    left = 16
    for _ in range(3):
        left -= min(merges, left // 2)
    assert merged.sizes_BM.shape == (8, left)
    assert merged.tokens_BMC.shape == (8, 1 + left, 32)
    assert merged.sizes_BM.sum(dim=1).tolist() == [16.0] * 8
    counted = torch.stack([torch.bincount(row, minlength=left) for row in merged.places_BN])
    assert torch.equal(counted.float(), merged.sizes_BM)
    vision = teacher(frames())
    assert vision.tokens_BTHWC.shape == (2, 4, 4, 4, 32)
    frame = vision.tokens_BTHWC[0, 0].flatten(0, 1)
    assert torch.equal(frame, merged.tokens_BMC[0, 1:][merged.places_BN[0]])
    assert len(frame.unique(dim=0)) == left
    assert WAP()(vision).shape == (2, 1, 2, 2, 32)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_frames_do_not_see_each_other(attention: str) -> None:
    teacher = ToMeTeacher(InternVLTeacher(tower(attention)), 3)
    together, alone = teacher(frames()).tokens_BTHWC, teacher(frames()[:, 2:3]).tokens_BTHWC
    torch.testing.assert_close(together[:, 2:3], alone)


def loop_layer(layer: InternVLVisionModel, state: MergedTokens, merges: int) -> tuple[Tensor, list[list[int]]]:
    """A layer on one frame, token by token: each row of the result, and which old patches stand behind it."""
    tokens, sizes = state.tokens_BMC[0], [1.0, *state.sizes_BM[0].tolist()]
    normed, attention = layer.layernorm_before(tokens), layer.attention  # type: ignore[operator]
    heads, width = 4, 8
    query, key, value = (getattr(attention, f"{name}_proj")(normed) for name in "qkv")
    mixed = torch.zeros_like(tokens)
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        for i in range(len(tokens)):
            # Proportional attention: a key of size s counts as s keys.
            weights = [
                sizes[j] * float(torch.exp(query[i, part] @ key[j, part] / width**0.5)) for j in range(len(tokens))
            ]
            mixed[i, part] = sum(w * value[j, part] for j, w in enumerate(weights)) / sum(weights)
    tokens = tokens + layer.lambda_1 * attention.projection_layer(mixed)
    means = key.unflatten(-1, (heads, width)).mean(dim=1)
    patches = range(1, len(tokens))
    in_a, in_b = [p for p in patches if p % 2 == 1], [p for p in patches if p % 2 == 0]
    likeness = torch.nn.functional.cosine_similarity
    best = {a: max(in_b, key=lambda b: float(likeness(means[a], means[b], 0))) for a in in_a}
    members = {p: [p] for p in patches}
    for a in sorted(best, key=lambda a: -float(likeness(means[a], means[best[a]], 0)))[:merges]:
        members[best[a]] += members.pop(a)
    left = [p for p in in_a if p in members] + in_b
    rows = [tokens[0]]
    for p in left:
        total = sum(sizes[i] for i in members[p])
        rows.append(sum(sizes[i] * tokens[i] for i in members[p]) / total)
    out = torch.stack(rows)
    return out + layer.lambda_2 * layer.mlp(layer.layernorm_after(out)), [[i - 1 for i in members[p]] for p in left]  # type: ignore[operator]


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_two_layers_equal_loops(attention: str) -> None:
    layers = tower(attention, attention_bias=True).encoder.layer
    state = MergedTokens(
        torch.randn(1, 10, 32, generator=torch.Generator().manual_seed(3)), torch.ones(1, 9), torch.arange(9)[None]
    )
    for layer in layers[:2]:
        expected, members = loop_layer(layer, state, 2)  # type: ignore[arg-type]
        following = merging_layer(layer, state, 2)  # type: ignore[arg-type]
        torch.testing.assert_close(following.tokens_BMC[0], expected, rtol=1e-4, atol=1e-4)
        for place, group in enumerate(members):
            assert float(following.sizes_BM[0, place]) == sum(float(state.sizes_BM[0, i]) for i in group)
        state = following
    assert state.sizes_BM.sum() == 9


def test_a_bad_setting_is_named() -> None:
    with pytest.raises(ConfigError, match="merges_per_layer is -1; give 0"):
        ToMeTeacher(InternVLTeacher(tower()), -1)


def test_a_store_of_merged_features_is_another_store() -> None:
    model = InternVLTeacher(tower())
    assert ToMeTeacher(model, 3).describe() != ToMeTeacher(model, 2).describe()
    assert ToMeTeacher(model, 3).describe()["merges_per_layer"] == 3
