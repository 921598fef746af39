"""Operations counted from sizes are those that torch counts on the real modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import InternVLVisionModel

from host_world import TEXTS, TOKENS, TOWERS, family_config, family_host
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.student.temporal import TEMPORAL_MIXERS
from liteframe.models.teachers import project_tokens
from liteframe.models.video_llm.hosts import host_config
from liteframe.planning.flops import (
    adapter_cost,
    head_cost,
    llm_cost,
    projector_cost,
    student_cost,
    vision_tower_cost,
)
from tiny_world import ENCODER

SIZE = (112, 112)
LORA = ["q_proj", "v_proj", "o_proj", "down_proj"]


def counted(run: Callable[[], torch.Tensor], backward: bool = False) -> int:
    with FlopCounterMode(display=False) as counter:
        result = run()
        if backward:
            result.sum().backward()
    return int(counter.get_total_flops())


def eager_host(text: str, tower: str) -> Any:
    host = family_host(text, tower)
    host.set_attn_implementation("eager")
    host.config.text_config._experts_implementation = "eager"
    return host


@pytest.mark.parametrize("tower", TOWERS)
def test_image_encoder(tower: str) -> None:
    vision: Any = family_config("qwen2", tower).vision_config
    vision._attn_implementation = "eager"
    model = InternVLVisionModel(vision)
    frames = torch.randn(2, 3, *SIZE)
    with torch.no_grad():
        assert counted(lambda: model(frames).last_hidden_state) == 2 * vision_tower_cost(vision, SIZE).forward


@pytest.mark.parametrize("mixer", TEMPORAL_MIXERS)
def test_student(mixer: str) -> None:
    encoder = LiteFrameEncoder(LiteFrameConfig(**ENCODER, temporal_mixer=mixer))
    for size in (SIZE, (56, 112)):
        frames = torch.randn(1, 8, 3, *size)
        with torch.no_grad():
            found = counted(lambda frames=frames: encoder(frames).last_hidden_state)
        assert found == 2 * student_cost(encoder.config, size).forward


@pytest.mark.parametrize(
    ("after", "strides"),
    [
        ([1, 2], [[2, 2, 2], [2, 1, 1]]),
        ([2, 3], [[2, 2, 2], [2, 1, 1]]),
        ([1], [[4, 2, 2]]),
        ([2], [[4, 2, 2]]),
        ([1, 3], [[2, 2, 2], [4, 1, 1]]),
        ([1], [[1, 2, 2]]),
    ],
)
def test_student_with_strides_elsewhere(after: list[int], strides: list[list[int]]) -> None:
    placed = {"downsample_after": after, "downsample_strides": strides, "clip_frames": 8, "num_hidden_layers": 3}
    encoder = LiteFrameEncoder(LiteFrameConfig(**{**ENCODER, **placed}))
    with torch.no_grad():
        found = counted(lambda: encoder(torch.randn(1, 8, 3, *SIZE)).last_hidden_state)
        shape = encoder(torch.randn(1, 8, 3, *SIZE)).last_hidden_state.shape
    assert found == student_cost(encoder.config, SIZE).forward
    frames, rows, columns = encoder.config.stride
    assert shape == (1, 8 // frames, 8 // rows, 8 // columns, 128)


def test_training_a_student() -> None:
    """Of single frames: torch's rule for the backward of a depth-wise convolution counts all pairs of channels."""
    plain = {**ENCODER, "clip_frames": 1, "downsample_after": [], "downsample_strides": []}
    encoder = LiteFrameEncoder(LiteFrameConfig(**plain))
    found = counted(lambda: encoder(torch.randn(1, 2, 3, *SIZE)).last_hidden_state, backward=True)
    assert found == 2 * student_cost(encoder.config, SIZE).training()


def test_projector() -> None:
    host = eager_host("qwen2", "300M")
    projector, tokens = host.model.multi_modal_projector, torch.randn(1, 3, 8, 8, 32, requires_grad=True)
    cost = projector_cost(32, 32, 3 * TOKENS, 0.5)
    assert counted(lambda: project_tokens(projector, tokens, 0.5)) == cost.forward
    assert counted(lambda: project_tokens(projector, tokens, 0.5), backward=True) == cost.training()
    projector.requires_grad_(False)
    assert counted(lambda: project_tokens(projector, tokens, 0.5), backward=True) == cost.training(trained=False)


@pytest.mark.parametrize("text", TEXTS)
def test_llm(text: str) -> None:
    host = eager_host(text, "300M")
    embeds = torch.randn(1, 50, 32)
    with torch.no_grad():
        found = counted(lambda: host.model.language_model(inputs_embeds=embeds, use_cache=False).last_hidden_state)
        # Rotary angles, which torch makes by a matrix product, are the difference.
        assert found == pytest.approx(llm_cost(host.config.text_config, 50).forward, rel=2e-3)
        assert counted(lambda: host.lm_head(embeds)) == head_cost(host.config.text_config, 50).forward


def test_adapting_an_llm() -> None:
    """The LLM passes gradients on; the adapters are trained."""
    host = eager_host("qwen3", "300M")
    text = host.config.text_config
    llm = get_peft_model(host.model.language_model, LoraConfig(r=4, target_modules=LORA))
    embeds = torch.randn(1, 50, 32, requires_grad=True)
    found = counted(lambda: llm(inputs_embeds=embeds, use_cache=False).last_hidden_state, backward=True)
    expected = llm_cost(text, 50).training(trained=False) + adapter_cost(text, 50, 4, LORA).training()
    assert found == pytest.approx(expected, rel=2e-3)


def test_a_mixture_of_experts_costs_what_is_active() -> None:
    """3.3 billion weights of the LLM of 30, and 22 of that of 235, are used for each token, embeddings with them."""
    for name, active in (("internvl3.5-30b-a3b", 3.3e9), ("internvl3.5-241b-a28b", 22e9)):
        text: Any = host_config(name).text_config
        used = (llm_cost(text, 1).linear + head_cost(text, 1).linear) / 2 + text.vocab_size * text.hidden_size
        assert used == pytest.approx(active, rel=0.03)


def test_the_papers_encoders() -> None:
    """What the sizes in the paper come to: 727 GFLOP a frame against 82."""
    teacher = vision_tower_cost(host_config("internvl3-8b").vision_config, (448, 448)).forward
    student = student_cost(LiteFrameConfig(), (448, 448)).forward / 4
    assert teacher == pytest.approx(727e9, rel=0.01)
    assert student == pytest.approx(82e9, rel=0.02)
