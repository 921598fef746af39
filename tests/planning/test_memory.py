"""Estimates of memory are near what autograd keeps, and sharing out weights divides what it should."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import Qwen3Config, Qwen3Model

from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.student.temporal import TEMPORAL_MIXERS
from liteframe.planning.memory import Part, llm_activations, memory, student_activations

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SIZE = (112, 112)


def kept_bytes(module: nn.Module, run: Callable[[], torch.Tensor]) -> int:
    """What autograd keeps for the backward pass, weights and their bfloat16 copies left out."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    shapes = {tuple(parameter.shape) for parameter in module.parameters()}
    shapes |= {shape[::-1] for shape in shapes}
    storages: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights and tuple(tensor.shape) not in shapes:
            storages[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        result = run()
    assert result.requires_grad
    return sum(storage.nbytes() for storage in storages.values())


@pytest.mark.parametrize("mixer", TEMPORAL_MIXERS)
def test_student_with_each_mixer(mixer: str) -> None:
    sizes = {"hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 3, "output_size": 128}
    config = LiteFrameConfig(
        112, **sizes, downsample_after=[2, 3], attention="sdpa", temporal_mixer=mixer, clip_frames=4
    )
    encoder = LiteFrameEncoder(config)
    found = kept_bytes(encoder, lambda: encoder(torch.randn(2, 4, 3, *SIZE)).last_hidden_state)
    assert student_activations(config, SIZE, 2) == pytest.approx(found, rel=0.4)


@pytest.mark.parametrize("downsample", [[1, 2], []])
def test_student(downsample: list[int]) -> None:
    strides = [(2, 2, 2), (2, 1, 1)] if downsample else []
    config = LiteFrameConfig(
        image_size=112,
        hidden_size=96,
        num_hidden_layers=4,
        num_attention_heads=3,
        output_size=128,
        downsample_after=downsample,
        downsample_strides=strides,
        attention="sdpa",
    )
    encoder = LiteFrameEncoder(config)
    frames = torch.randn(2, 4, 3, *SIZE)
    found = kept_bytes(encoder, lambda: encoder(frames).last_hidden_state)
    assert student_activations(config, SIZE, 2) == pytest.approx(found, rel=0.4)
    blocks = student_activations(config, SIZE, 2, checkpointing=True)
    encoder.train().gradient_checkpointing_enable()
    assert blocks > kept_bytes(encoder, lambda: encoder(frames).last_hidden_state), "one block at a time comes on top"
    if not downsample:
        assert blocks < 0.7 * found, "the first block of a student that drops tokens keeps most"
    few, many = (student_activations(config, SIZE, clips, checkpointing=True, chunk=2) for clips in (16, 32))
    given = 1 * 4 * 4 if downsample else 4 * 8 * 8
    assert many - few == 16 * given * 2 * 128, "memory grows by the tokens that the student gives"


@pytest.mark.parametrize("targets", [ALL, ["q_proj"]])
def test_llm(targets: list[str]) -> None:
    text: Any = Qwen3Config(
        vocab_size=9,
        hidden_size=96,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=16,
        intermediate_size=320,
        attn_implementation="sdpa",
    )
    llm = get_peft_model(Qwen3Model(text).bfloat16(), LoraConfig(r=4, target_modules=targets))
    embeds = torch.randn(1, 200, 96, dtype=torch.bfloat16, requires_grad=True)
    found = kept_bytes(llm, lambda: llm(inputs_embeds=embeds, use_cache=False).last_hidden_state)
    assert llm_activations(text, 200, targets) == pytest.approx(found, rel=0.4)
    assert llm_activations(text, 200, targets, checkpointing=True) < 0.6 * found


def test_weights_gradients_and_states() -> None:
    parts = [Part("encoder", 100, 100, 4, 10), Part("LLM", 1000, 0, 2, 50), Part("teacher", 40, 0, 4)]
    one = memory(parts, 7.0, gpus=1, sharded=False, autocast=True)
    assert (one.weights, one.gradients, one.optimizer, one.casts) == (2560, 400, 800, 200)
    assert one.total == 2560 + 400 + 800 + 200 + 7
    eight = memory(parts, 7.0, gpus=8, sharded=False, autocast=False)
    assert (eight.weights, eight.gradients, eight.optimizer, eight.casts) == (2560, 800, 800, 0), "DDP's buckets"
    shared = memory(parts, 7.0, gpus=8, sharded=True, autocast=False)
    gathered = 10 * 4 + 50 * 2
    assert shared.weights == 2400 / 8 + 160 + gathered, "the teacher is whole on each"
    assert (shared.gradients, shared.optimizer, shared.activations) == (50, 100, 7)
