"""Caches of a Qwen3-VL know where groups of frames are in them, however they are cut, repeated or made anew."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from liteframe.errors import ConfigError
from liteframe.hf.modeling import LiteFrameForConditionalGeneration
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from qwen3_world import FEATURES, qwen3_folder

CLOSE = {"rtol": 1e-4, "atol": 1e-4}
WORDS, TEXT = 5, torch.tensor([[9, 10, 11, 12]])


@lru_cache
def model() -> Any:
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.3}
    config = LiteFrameConfig(image_size=112, output_size=FEATURES, downsample_after=[1, 2], attention="eager", **small)
    torch.manual_seed(0)
    return LiteFrameForConditionalGeneration.from_host(
        load_base_vlm(str(qwen3_folder()), "sdpa")[0], LiteFrameEncoder(config)
    ).eval()


@lru_cache
def clips() -> Tensor:
    """Two, of a group each."""
    return torch.randn(2, 4, 3, 112, 112, generator=torch.Generator().manual_seed(0))


def prompt() -> tuple[Tensor, int]:
    """Words, a group, words, a group, words; and the tokens of a group."""
    places = model().project_clips(clips()).shape[1]
    words, group = torch.arange(20, 20 + WORDS), torch.full((places,), model().config.image_token_id)
    return torch.cat([words, group, words, group, words])[None], places


def filled() -> tuple[Tensor, Any]:
    ids, _ = prompt()
    return ids, model()(input_ids=ids, pixel_values_videos=clips(), use_cache=True).past_key_values


@pytest.fixture(autouse=True)
def without_gradients():  # type: ignore[no-untyped-def]
    with torch.no_grad():
        yield


@pytest.mark.parametrize("groups", [0, 1, 2])
def test_a_cropped_cache_goes_on_as_a_prompt_that_ended_there(groups: int) -> None:
    ids, cache = filled()
    places = prompt()[1]
    kept = WORDS - 2 + groups * (WORDS + places)
    for _ in range(2):  # cropped again, behind what went on from there
        cache.crop(kept - int(cache.get_seq_length()))
        found = model()(input_ids=TEXT, past_key_values=cache, use_cache=True).logits
        shown = {"pixel_values_videos": clips()[:groups]} if groups else {}
        whole = model()(input_ids=torch.cat([ids[:, :kept], TEXT], dim=1), **shown).logits
        torch.testing.assert_close(found, whole[:, kept:], **CLOSE)


def test_a_group_is_read_behind_a_crop() -> None:
    ids, cache = filled()
    places = prompt()[1]
    kept = 2 * WORDS + places
    cache.crop(kept - ids.shape[1])
    model()(input_ids=TEXT, past_key_values=cache, use_cache=True)
    rest = torch.cat([ids[:, kept : kept + places], TEXT], dim=1)
    found = model()(input_ids=rest, pixel_values_videos=clips()[:1], past_key_values=cache, use_cache=True).logits
    again = model()(input_ids=TEXT, past_key_values=cache, use_cache=True).logits
    asked = torch.cat([ids[:, :kept], TEXT, rest, TEXT], dim=1)
    whole = model()(input_ids=asked, pixel_values_videos=clips()[[0, 0]]).logits
    torch.testing.assert_close(torch.cat([found, again], dim=1), whole[:, kept + TEXT.shape[1] :], **CLOSE)


def test_copies_and_repeats_of_a_cache_go_on() -> None:
    ids, cache = filled()
    whole = model()(input_ids=torch.cat([ids, TEXT], dim=1), pixel_values_videos=clips()).logits[:, ids.shape[1] :]
    repeated = copy.deepcopy(cache)
    repeated.batch_repeat_interleave(2)
    found = model()(input_ids=TEXT.expand(2, -1), past_key_values=repeated, use_cache=True).logits
    torch.testing.assert_close(found, whole.expand(2, -1, -1), **CLOSE)
    given = {"input_ids": ids, "pixel_values_videos": clips(), "max_new_tokens": 5, "min_new_tokens": 5}
    for beams in (1, 3):
        plain = model().generate(**given, do_sample=False, num_beams=beams)
        for how in ({"use_cache": False}, {"cache_implementation": "static"}):
            assert torch.equal(model().generate(**given, do_sample=False, num_beams=beams, **how), plain), how


def test_a_cache_that_does_not_say_where_groups_are_is_refused() -> None:
    _, cache = filled()
    rebuilt = DynamicCache([(layer.keys, layer.values) for layer in cache.layers])
    with pytest.raises(ConfigError, match="does not say where groups of frames are among them; give the cache that"):
        model()(input_ids=TEXT, past_key_values=rebuilt, use_cache=True)
    empty = DynamicCache(config=model().language_model.config)
    assert model()(input_ids=TEXT, past_key_values=empty, use_cache=True).logits.isfinite().all()


@pytest.mark.parametrize("prompts", [1, 3])
def test_a_cache_of_another_number_of_prompts_is_refused(prompts: int) -> None:
    _, cache = filled()
    cache.batch_repeat_interleave(2)
    model()(input_ids=TEXT.expand(2, -1), past_key_values=cache, use_cache=True)
    with pytest.raises(ConfigError, match=f"filled with 2 prompts, and {prompts} go on from it"):
        model()(input_ids=TEXT.expand(prompts, -1), past_key_values=cache, use_cache=True)
