"""What PruneVid, HoliTom and FlashVID do inside the LLM against a walk through its layers, token by token."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor

from liteframe.models.rivals.llm_pruning import PrunedVideoLLM
from liteframe.models.rivals.post_hoc import PostHocVideoLLM
from liteframe.models.rivals.pruners import FlashVIDInside, HoliTomInside, Pruner, PruneVidInside
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.model import VideoLLM
from tiny_world import host_folder

QUESTIONS = ["color of the star", "color of the first triangle"]
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
INSIDE: dict[str, type[Pruner]] = {"prunevid": PruneVidInside, "holitom": HoliTomInside, "flashvid": FlashVIDInside}


@lru_cache
def inner(kernel: str = "sdpa") -> VideoLLM:
    model, processor = load_base_vlm(str(host_folder()), kernel)
    return VideoLLM(model.eval(), processor).eval()


def frames(count: int = 6, batch: int = 2) -> Tensor:
    return torch.randn(batch, count, 3, 112, 112, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.mark.parametrize("method", ["prunevid", "holitom", "flashvid"])
def test_dropping_nothing_inside_is_the_method_before_the_llm(method: str) -> None:
    before = PostHocVideoLLM(inner(), method, ratio=4)
    pruner = INSIDE[method](ratio=1.0)
    pruned = PrunedVideoLLM(before, pruner)
    visual = pruned.project(pruned.encode(frames()))
    ours, theirs = (model.first_answer_logits(visual, [QUESTIONS, QUESTIONS]) for model in (pruned, before))
    torch.testing.assert_close(torch.stack(ours), torch.stack(theirs), **CLOSE)
    described = before.describe()
    assert described.pop("absent")
    assert pruned.describe()["compressor"] == f"{method}-llm"
    assert pruned.describe()["before"] == described, "with its other half, nothing is absent"


def unrotated_attention(layer: Any, entering: Tensor) -> Tensor:
    """What the official PruneVid ranks by: attention (heads, L, L) of all to all, by content alone."""
    attention, normed = layer.self_attn, layer.input_layernorm(entering[0])
    width, shared = attention.head_dim, attention.num_key_value_groups
    queries, keys = (project(normed).split(width, dim=-1) for project in (attention.q_proj, attention.k_proj))
    return torch.stack(
        [(query @ keys[head // shared].T / width**0.5).softmax(dim=-1) for head, query in enumerate(queries)]
    )


def walked(
    model: Any, embeds: Tensor, visual: list[int], after: int, keep: int, method: str, lines: list[list[int]]
) -> Tensor:
    """Last hidden state of a prompt of which some visual tokens are taken out, or merged, after a layer."""
    places, hidden = list(range(embeds.shape[1])), embeds
    for depth, layer in enumerate(model.layers, start=1):
        length, entering = len(places), hidden
        mask = torch.full((length, length), float("-inf")).triu(1)[None, None]
        rotary = model.rotary_emb(hidden, torch.tensor([places]))
        weights: list[Tensor] = []
        hook = layer.self_attn.register_forward_hook(lambda _module, _inputs, output, to=weights: to.append(output[1]))
        hidden = layer(hidden, attention_mask=mask, position_embeddings=rotary)
        hook.remove()
        if depth != after:
            continue
        of_heads = weights[0][0]
        if method == "prunevid":
            of_heads = unrotated_attention(layer, entering)
            asking = range(visual[-1] + 1, length)
            score = {p: max(float(of_heads[h, q, p]) for h in range(len(of_heads)) for q in asking) for p in visual}
            stays = []
            for line in lines:
                stays += sorted(line, key=lambda p: -score[p])[: len(line) * keep // len(visual)]
            rest = sorted((p for p in visual if p not in stays), key=lambda p: -score[p])
            stays += rest[: keep - len(stays)]
        else:
            score = {p: float(of_heads[:, -1, p].mean()) for p in visual}
            stays = sorted(visual, key=lambda p: -score[p])[:keep]
            merging = visual if method == "holitom" else []
            joins = {
                p: max(stays, key=lambda s: float(torch.cosine_similarity(hidden[0, p], hidden[0, s], dim=0)))
                for p in merging
                if p not in stays
            }
            for p, target in joins.items():
                hidden[0, target] = (hidden[0, target] + hidden[0, p]) / 2
        places = [p for p in places if p not in visual or p in stays]
        hidden = hidden[:, places]
    return model.norm(hidden)[:, -1]


@pytest.mark.parametrize(
    "pruner", [PruneVidInside(), HoliTomInside(), HoliTomInside(4.0, after=1), FlashVIDInside()], ids=str
)
def test_answers_equal_a_walk_through_the_layers(pruner: Pruner) -> None:
    method = next(name for name, kind in INSIDE.items() if type(pruner) is kind)
    plain = inner("eager")
    before = PostHocVideoLLM(plain, method, ratio=2)
    (video,) = visual = before.project(before.encode(frames(batch=1)))
    ids = before.prompt_ids(visual, QUESTIONS[1])
    visual_places = [place for place, token in enumerate(ids) if token == plain.image_token_id]
    starts = iter(visual_places)
    lines = [[next(starts) for _ in range(count)] for _, count in video.lines]
    ((after, keep),) = pruner.plan(len(visual_places), 3).items()
    assert (after, keep) == (pruner.after or {"prunevid": 1}.get(method, 2), round(48 / pruner.ratio))  # type: ignore[attr-defined]
    embeds = plain.embed(torch.tensor([ids]), video.compressed.tokens_MC[None, None])
    expected = plain.lm_head(walked(plain.language_model, embeds, visual_places, after, keep, method, lines))
    for kernel in ("eager", "sdpa"):
        pruned = PrunedVideoLLM(PostHocVideoLLM(inner(kernel), method, ratio=2), pruner)
        torch.testing.assert_close(pruned.prefill(visual, ids), expected, **CLOSE)
        assert not torch.allclose(expected, before.prefill(visual, ids), **CLOSE)


def test_tokens_are_counted_from_what_the_llm_is_shown() -> None:
    pruned = PrunedVideoLLM(PostHocVideoLLM(inner(), "holitom", ratio=8), HoliTomInside())
    vision = pruned.encode(frames(8))
    counts = pruned.token_counts(vision, pruned.project(vision))
    assert (counts.encoder, counts.llm, counts.asked) == (512, 16, 8)
    assert counts.mean_over_layers == pytest.approx((16 + 16 + 8) / 3)
    assert HoliTomInside().plan(256, 28) == {18: 128} and PruneVidInside().plan(100, 32) == {11: 40}
    assert FlashVIDInside().plan(100, 28) == {20: 30}


def test_a_method_that_leaves_less_than_it_was_asked_for_was_asked_for_no_less() -> None:
    pruned = PrunedVideoLLM(PostHocVideoLLM(inner(), "holitom", ratio=2), HoliTomInside())
    vision = pruned.encode(torch.zeros(1, 8, 3, 112, 112))
    counts = pruned.token_counts(vision, pruned.project(vision))
    assert (counts.llm, counts.asked) == (16, 32), "of 128, where nothing moves"


@pytest.mark.parametrize(
    ("pruner", "ratio", "whole"),
    [(PruneVidInside(), 6.4, 16.0), (HoliTomInside(), 3.3, 6.6), (HoliTomInside(1.5), 1.0, 1.5)],
)
def test_the_ratio_of_a_record_is_the_whole(pruner: Pruner, ratio: float, whole: float) -> None:
    described = PrunedVideoLLM(PostHocVideoLLM(inner(), "holitom", ratio), pruner).describe()
    assert (described["ratio"], described["ratio_inside"]) == (whole, pruner.ratio)
    assert described["before"]["ratio"] == ratio
