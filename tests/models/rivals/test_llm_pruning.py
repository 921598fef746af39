"""Dropping tokens inside the LLM is the same as masking them, and what is dropped is what attention says."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen3Config, Qwen3Model

from liteframe.errors import ConfigError
from liteframe.models.rivals.llm_layers import last_token_attention
from liteframe.models.rivals.llm_pruning import PrunedVideoLLM
from liteframe.models.rivals.pruners import FastV, Pruner, PyramidDrop
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.model import VideoLLM
from tiny_world import host_folder

QUESTIONS = ["color of the star", "color of the first triangle"]
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@lru_cache
def inner(kernel: str = "sdpa") -> VideoLLM:
    model, processor = load_base_vlm(str(host_folder()), kernel)
    return VideoLLM(model.eval(), processor).eval()


def frames(count: int = 4, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, count, 3, 112, 112, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("pruner", [FastV(1.0), PyramidDrop(1.0)], ids=["fastv", "pyramiddrop"])
def test_dropping_nothing_is_the_model_itself(pruner: Pruner, kernel: str) -> None:
    pruned = PrunedVideoLLM(inner(kernel), pruner)
    visual = pruned.project(pruned.encode(frames()))
    ids = pruned.prompt_ids(visual, QUESTIONS[0])
    torch.testing.assert_close(pruned.prefill(visual, ids), inner(kernel).prefill(visual, ids), **CLOSE)
    ours = pruned.first_answer_logits(visual, [QUESTIONS, QUESTIONS])
    theirs = inner(kernel).first_answer_logits(visual, [QUESTIONS, QUESTIONS])
    torch.testing.assert_close(torch.stack(ours), torch.stack(theirs), **CLOSE)


def masked_reference(
    model: Any, embeds: torch.Tensor, visual: list[int], plan: dict[int, int], next_layer: bool
) -> Any:
    """Runs all tokens through all layers of a plain kernel; what is dropped is hidden from every later layer."""
    length = embeds.shape[1]
    position = torch.arange(length)[None]
    rotary = model.rotary_emb(embeds, position)
    gone: set[int] = set()
    hidden = embeds

    def run(layer: Any, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mask = torch.zeros(1, 1, length, length)
        for query in range(length):
            for key in range(length):
                if key > query or (key in gone and key != query):
                    mask[0, 0, query, key] = float("-inf")
        weights: list[torch.Tensor] = []
        hook = layer.self_attn.register_forward_hook(lambda module, inputs, output: weights.append(output[1]))
        out = layer(hidden, attention_mask=mask, position_embeddings=rotary, position_ids=position)
        hook.remove()
        return out, weights[0][0].mean(dim=0)[-1]

    for depth, layer in enumerate(model.layers, start=1):
        hidden, row = run(layer, hidden)
        if depth in plan:
            if next_layer:
                _, row = run(model.layers[depth], hidden)
            left = sorted((token for token in visual if token not in gone), key=lambda token: -float(row[token]))
            gone |= set(left[plan[depth] :])
    return model.norm(hidden)[:, -1], gone


@pytest.mark.parametrize(
    "pruner", [FastV(8.0), FastV(4.0, after=2), PyramidDrop(8.0)], ids=["fastv", "late", "pyramid"]
)
def test_dropping_is_masking(pruner: Pruner) -> None:
    plain = inner("eager")
    visual = plain.project(plain.encode(frames(batch=1)))
    ids = plain.prompt_ids(visual, QUESTIONS[1])
    places = [place for place, token in enumerate(ids) if token == plain.image_token_id]
    plan = pruner.plan(len(places), 3)
    embeds = plain.embed(torch.tensor([ids]), visual)
    state, gone = masked_reference(plain.language_model, embeds, places, plan, isinstance(pruner, PyramidDrop))
    assert len(places) - len(gone) == 64 // round(pruner.ratio)
    for kernel in ("eager", "sdpa"):
        pruned = PrunedVideoLLM(inner(kernel), pruner)
        torch.testing.assert_close(pruned.prefill(visual, ids), plain.lm_head(state), **CLOSE)
    assert not torch.allclose(pruned.prefill(visual, ids), plain.prefill(visual, ids), **CLOSE)


def test_attention_of_an_llm_with_norms_of_queries_and_keys() -> None:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=8, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=6,
        intermediate_size=16, initializer_range=0.5,
    )  # fmt: skip
    config._attn_implementation = "eager"
    model = Qwen3Model(config).eval()
    hidden = torch.randn(1, 7, 16)
    rotary = model.rotary_emb(hidden, torch.arange(7)[None])
    caught: list[torch.Tensor] = []
    model.layers[1].self_attn.register_forward_hook(lambda module, inputs, output: caught.append(output[1]))
    model.layers[1](hidden, attention_mask=None, position_embeddings=rotary)
    expected = caught[0][0].mean(dim=0)[-1]  # the last row sees all, so no mask is needed
    torch.testing.assert_close(last_token_attention(model.layers[1], hidden, rotary), expected)


def test_tokens_are_counted_over_the_layers() -> None:
    pruned = PrunedVideoLLM(inner(), FastV(16.0))
    encoded = pruned.encode(frames(batch=1))
    counts = pruned.token_counts(encoded, pruned.project(encoded))
    assert (counts.encoder, counts.llm, counts.asked) == (256, 64, 4)
    assert counts.mean_over_layers == pytest.approx((64 + 4 + 4) / 3)
    assert PrunedVideoLLM(inner(), PyramidDrop(16.0)).pruner.plan(64, 3) == {1: 16, 2: 4}
    assert FastV().plan(256, 28) == {2: 16} and list(PyramidDrop().plan(256, 28)) == [7, 14, 21]
    assert pruned.describe() == {"compressor": "fastv", "inside": "the LLM", "ratio": 16.0, "after": None}


def test_what_cannot_be_pruned_is_refused() -> None:
    with pytest.raises(ConfigError, match="after is 3"):
        PrunedVideoLLM(inner(), FastV(16.0, after=3))
    with pytest.raises(ConfigError, match="after is 0"):
        PrunedVideoLLM(inner(), FastV(16.0, after=0))
    with pytest.raises(ConfigError, match="stages is 0"):
        PrunedVideoLLM(inner(), PyramidDrop(16.0, stages=0))
    flashy = VideoLLM(*load_base_vlm(str(host_folder()), "sdpa"))
    flashy.language_model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ConfigError, match="flash_attention_2"):
        PrunedVideoLLM(flashy, FastV())
    host, processor = load_base_vlm(str(host_folder()), "sdpa")
    host.model.language_model = get_peft_model(host.model.language_model, LoraConfig(r=2, target_modules=["q_proj"]))
    model = VideoLLM(host, processor)
    model.language_model = torch.nn.Identity()  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="Identity"):
        PrunedVideoLLM(model, FastV())
