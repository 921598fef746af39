"""Keys and values in room that is made once are those of transformers' cache, and lie where they lay."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from torch import Tensor
from transformers import AutoModel
from transformers.cache_utils import DynamicCache

from liteframe.models.video_llm import prefill
from liteframe.models.video_llm.prompt_cache import RoomyLayer, prompt_cache
from liteframe.tiny.models import tiny_config, tiny_processor


def states(tokens: int, batch: int = 1) -> Tensor:
    return torch.randn(batch, 2, tokens, 4, generator=torch.Generator().manual_seed(tokens))


@pytest.mark.parametrize("room", [0, 5, 64])
def test_whatever_the_room_all_tokens_are_held(room: int) -> None:
    layer, expected = RoomyLayer(room), torch.empty(1, 2, 0, 4)
    for tokens in (3, 1, 4, 1, 9):
        expected = torch.cat([expected, states(tokens)], dim=-2)
        keys, values = layer.update(states(tokens), -states(tokens))
        assert torch.equal(keys, expected) and torch.equal(values, -expected)
    assert layer.get_seq_length() == 18
    layer.crop(-10)
    keys, values = layer.update(states(2), -states(2))
    assert torch.equal(keys, torch.cat([expected[..., :8, :], states(2)], dim=-2)) and torch.equal(values, -keys)
    layer.batch_repeat_interleave(3)
    keys, _ = layer.update(states(1, batch=3), states(1, batch=3))
    assert keys.shape == (3, 2, 11, 4) and torch.equal(keys[2, :, :8], expected[0, :, :8])
    layer.reset()
    assert layer.get_seq_length() == 0 and torch.equal(layer.update(states(2), states(2))[0], states(2))


def test_tokens_that_fit_move_nothing() -> None:
    layer = RoomyLayer(20)
    places = {layer.update(states(tokens), states(tokens))[0].data_ptr() for tokens in (7, 1, 12)}
    assert len(places) == 1
    assert layer.update(states(1), states(1))[0].data_ptr() not in places


@torch.inference_mode()
def test_an_llm_reads_the_same_of_it() -> None:
    text = tiny_config(tiny_processor().tokenizer).text_config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        llm = AutoModel.from_config(text).eval()
    ids_BL = torch.randint(1, 50, (2, 23), generator=torch.Generator().manual_seed(0))
    roomy, plain = prompt_cache(llm, 20, 10), DynamicCache(config=text)
    assert all(isinstance(layer, RoomyLayer) for layer in roomy.layers)
    for part_BL in ids_BL.split([11, 9, 1, 2], dim=1):
        found, expected = (
            llm(part_BL, past_key_values=cache, use_cache=True).last_hidden_state for cache in (roomy, plain)
        )
        torch.testing.assert_close(found, expected)
    assert roomy.get_seq_length() == 23


def test_a_long_prompt_goes_in_parts_whose_masks_stay_small() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    for length in (1, 600, 2048, 7290, 10**6):
        at_once = prefill._tokens_at_once(length, cpu)
        assert at_once == 64 or at_once * length <= 2**20
        assert 64 <= at_once <= 512 == prefill._tokens_at_once(length, gpu)
    assert prefill._tokens_at_once(600, cpu) == 512
    with mock.patch.object(prefill, "_PREFILL_TOKENS", 7):
        assert prefill._tokens_at_once(600, cpu) == 7
