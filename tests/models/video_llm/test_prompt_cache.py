"""Keys and values in room that is made once are those of transformers' cache, and lie where they lay."""

from __future__ import annotations

import copy
from collections.abc import Callable
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


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "fewer videos": lambda held: held[:1],  # which begins where the room does
    "other dtype": lambda held: held.view(torch.int32),
    "every other token": lambda held: held[..., ::2, :],
    "copied": torch.clone,
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_no_more_a_part_of_its_room_is_copied_to_another(change: str) -> None:
    layer, batch = RoomyLayer(20), 2
    layer.update(states(6, batch), -states(6, batch))
    keys, values, more = states(6, batch), -states(6, batch), states(1, batch)
    changed = CHANGES[change]
    assert layer.keys is not None and layer.values is not None
    layer.keys, layer.values = changed(layer.keys), changed(layer.values)
    keys, values = changed(keys), changed(values)
    more = more[: len(keys)].to(keys.dtype)
    found_keys, found_values = layer.update(more, more)
    assert torch.equal(found_keys, torch.cat([keys, more], dim=-2))
    assert torch.equal(found_values, torch.cat([values, more], dim=-2))


def test_room_made_in_inference_mode_is_left_outside_of_it() -> None:
    layer = RoomyLayer(20)
    with torch.inference_mode():
        layer.update(states(6), -states(6))
    keys, values = layer.update(states(1), -states(1))
    assert torch.equal(keys, torch.cat([states(6), states(1)], dim=-2)) and torch.equal(values, -keys)
    with torch.inference_mode():
        assert layer.update(states(2), -states(2))[0].data_ptr() == keys.data_ptr()


def test_deep_copies_hold_what_they_held_whoever_goes_on() -> None:
    layer = RoomyLayer(20)
    layer.update(states(6), -states(6))
    other = copy.deepcopy(layer)
    for one, tokens in ((layer, 2), (other, 3)):
        one.update(states(tokens), -states(tokens))
    for one, tokens in ((layer, 2), (other, 3)):
        keys = one.keys
        assert keys is not None and torch.equal(keys, torch.cat([states(6), states(tokens)], dim=-2))


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
