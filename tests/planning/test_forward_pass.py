"""What is counted on fake modules is what real ones do: torch's count of operations, and what autograd keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel, InternVLVisionModel, Qwen3Config, Qwen3MoeConfig

from activation_bytes import kept_bytes
from host_world import TEXTS, TOKENS, TOWERS, family_config, family_host
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.student.temporal import TEMPORAL_MIXERS
from liteframe.models.teachers import project_tokens
from liteframe.models.video_llm.base_vlm_configs import base_vlm_config
from liteframe.planning.forward_pass import (
    PROMPT,
    llm_pass,
    one_of_each,
    projector_pass,
    student_pass,
    vision_tower_flops,
)
from liteframe.planning.parts import student_points
from tiny_world import ENCODER

SIZE = (112, 112)
LORA = ["q_proj", "v_proj", "o_proj", "down_proj"]
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def on_meta(text: Any) -> Any:
    with torch.device("meta"):
        return AutoModel.from_config(text).bfloat16()


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
        assert counted(lambda: model(frames).last_hidden_state) == 2 * vision_tower_flops(vision, SIZE)


@pytest.mark.parametrize("mixer", TEMPORAL_MIXERS)
def test_student(mixer: str) -> None:
    encoder = LiteFrameEncoder(LiteFrameConfig(**ENCODER, temporal_mixer=mixer))
    for size in (SIZE, (56, 112)):
        frames = torch.randn(1, 8, 3, *size)
        with torch.no_grad():
            found = counted(lambda frames=frames: encoder(frames).last_hidden_state)
        assert found == 2 * student_pass(encoder.config, size).cost.forward


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
    assert found == student_pass(encoder.config, SIZE).cost.forward
    frames, rows, columns = encoder.config.stride
    assert shape == (1, 8 // frames, 8 // rows, 8 // columns, 128)


@pytest.mark.parametrize(
    "changes",
    [
        {"tubelet_frames": 2, "downsample_strides": [[1, 2, 2], [2, 1, 1]]},
        {"early_hidden_sizes": [16, 32]},
        {"downsample_after": [0, 2]},
    ],
)
def test_student_of_another_shape(changes: dict[str, Any]) -> None:
    encoder = LiteFrameEncoder(LiteFrameConfig(**{**ENCODER, **changes}))
    tokens: list[int] = []
    encoder.blocks[0].register_forward_pre_hook(lambda _, inputs: tokens.append(inputs[0].shape[:2].numel()))
    with torch.no_grad():
        found = counted(lambda: encoder(torch.randn(1, 4, 3, *SIZE)).last_hidden_state)
        tokens.append(encoder(torch.randn(1, 4, 3, *SIZE)).last_hidden_state.shape[1:4].numel())
    assert found == student_pass(encoder.config, SIZE).cost.forward
    points = student_points(encoder.config, SIZE, 0.5)
    assert points["after the student"] == tokens[-1]
    if 0 not in encoder.config.downsample_after:
        assert points["patches"] == tokens[0]


@pytest.mark.parametrize("mixer", ["none", "attention", "joint", "full"])
def test_training_a_student(mixer: str) -> None:
    """Without depth-wise convolutions: torch's rule for their backward pass counts all pairs of channels."""
    plain = {**ENCODER, "downsample_after": [], "downsample_strides": [], "temporal_mixer": mixer}
    encoder = LiteFrameEncoder(LiteFrameConfig(**plain))
    found = counted(lambda: encoder(torch.randn(1, 8, 3, *SIZE)).last_hidden_state, backward=True)
    assert found == 2 * student_pass(encoder.config, SIZE).cost.training()


def test_projector() -> None:
    host = eager_host("qwen2", "300M")
    projector, tokens = host.model.multi_modal_projector, torch.randn(1, 3, 8, 8, 32, requires_grad=True)
    cost = projector_pass(projector).cost * (3 * TOKENS)
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
    fake = on_meta(family_config(text, "300M").text_config)
    copies = one_of_each(fake)
    assert copies == [2]
    # Rotary angles, which torch may make by a matrix product, are the difference.
    assert found == pytest.approx(llm_pass(fake, copies).prompt_cost(50).forward, rel=2e-3)


def test_an_llm_with_layers_of_several_kinds() -> None:
    text = Qwen3MoeConfig(
        **{**TEXT, "num_hidden_layers": 5}, num_experts=4, num_experts_per_tok=2, mlp_only_layers=[1, 3]
    )
    whole = llm_pass(on_meta(text), [1] * 5)
    fake = on_meta(text)
    copies = one_of_each(fake)
    assert copies == [3, 2]
    assert llm_pass(fake, copies) == whole


def test_adapting_an_llm() -> None:
    """The LLM passes gradients on; the adapters are trained."""
    host = eager_host("qwen3", "300M")
    fake, lora = on_meta(host.config.text_config), LoraConfig(r=4, target_modules=LORA)
    plain = llm_pass(fake, [1, 1]).prompt_cost(50)
    with torch.device("meta"):
        adapted = llm_pass(get_peft_model(fake, lora), [1, 1]).prompt_cost(50)
    llm = get_peft_model(host.model.language_model, lora)
    embeds = torch.randn(1, 50, 32, requires_grad=True)
    found = counted(lambda: llm(inputs_embeds=embeds, use_cache=False).last_hidden_state, backward=True)
    expected = plain.training(trained=False) + (adapted + plain * -1).training()
    assert found == pytest.approx(expected, rel=2e-3)


def test_a_mixture_of_experts_costs_what_is_active() -> None:
    """3.3 billion weights of the LLM of 30, and 22 of that of 235, are used for each token, embeddings with them."""
    for name, active in (("internvl3.5-30b-a3b", 3.3e9), ("internvl3.5-241b-a28b", 22e9)):
        text: Any = base_vlm_config(name).text_config
        llm = on_meta(text)
        layers = llm_pass(llm, one_of_each(llm)).prompt_cost(1).linear
        used = layers / 2 + 2 * text.vocab_size * text.hidden_size
        assert used == pytest.approx(active, rel=0.03)


def test_the_papers_encoders() -> None:
    """What the sizes in the paper come to: 727 GFLOP a frame against 82."""
    teacher = base_vlm_config("internvl3-8b").vision_config
    assert vision_tower_flops(teacher, (448, 448)) == pytest.approx(727e9, rel=0.01)
    assert student_pass(LiteFrameConfig(), (448, 448)).cost.forward / 4 == pytest.approx(82e9, rel=0.02)


def kept_on_a_gpu(module: nn.Module, run: Callable[[], torch.Tensor]) -> int:
    """What autograd keeps where autocast runs layer norms in float32."""

    def forward(self: nn.LayerNorm, tokens: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(tokens.float(), self.normalized_shape, self.weight, self.bias, self.eps)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.LayerNorm, "forward", forward)
        return kept_bytes(module, run)


SMALL: dict[str, Any] = {
    "image_size": 112,
    "hidden_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "output_size": 128,
    "attention": "sdpa",
}


def pixels(clips: int) -> torch.Tensor:
    """Random frames as the loader gives them."""
    return torch.randint(0, 256, (clips, 4, 3, *SIZE), dtype=torch.uint8)


@pytest.mark.parametrize("mixer", TEMPORAL_MIXERS)
def test_what_a_student_keeps(mixer: str) -> None:
    config = LiteFrameConfig(**SMALL, downsample_after=[2, 3], temporal_mixer=mixer)
    encoder = LiteFrameEncoder(config)
    found = kept_on_a_gpu(encoder, lambda: encoder(pixels(2)).last_hidden_state)
    assert student_pass(config, SIZE).activations(2) == pytest.approx(found, rel=0.05)


@pytest.mark.parametrize("downsample", [[1, 2], []])
def test_what_a_student_keeps_with_checkpointing(downsample: list[int]) -> None:
    strides = [(2, 2, 2), (2, 1, 1)] if downsample else []
    config = LiteFrameConfig(**SMALL, downsample_after=downsample, downsample_strides=strides)
    encoder = LiteFrameEncoder(config)
    frames, tokens = pixels(2), torch.randn(8, 64, 96, dtype=torch.bfloat16)
    counted = student_pass(config, SIZE)
    largest = kept_on_a_gpu(encoder.blocks[0], lambda: encoder.blocks[0](tokens))
    encoder.train().gradient_checkpointing_enable()
    inputs = kept_on_a_gpu(encoder, lambda: encoder(frames).last_hidden_state)
    assert counted.activations(2, checkpointing=True) == pytest.approx(inputs + largest, rel=0.05)
    few, many = (counted.activations(clips, checkpointing=True, chunk=2) for clips in (16, 32))
    given = 1 * 4 * 4 if downsample else 4 * 8 * 8
    assert many - few == 16 * given * 2 * 128, "memory grows by the tokens that the student gives"


TEXT: dict[str, Any] = {
    "vocab_size": 9,
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 320,
    "attn_implementation": "sdpa",
}


@pytest.mark.parametrize(("experts", "targets"), [(0, ALL), (0, ["q_proj"]), (4, ["q_proj", "o_proj"])])
def test_what_an_llm_keeps(experts: int, targets: list[str]) -> None:
    moe = {"num_experts": experts, "num_experts_per_tok": 2, "moe_intermediate_size": 40}
    text = Qwen3MoeConfig(**TEXT, **moe) if experts else Qwen3Config(**TEXT)
    lora = LoraConfig(r=4, target_modules=targets)
    llm = get_peft_model(AutoModel.from_config(text).bfloat16(), lora)
    embeds, mask = torch.randn(5, 40, 96, dtype=torch.bfloat16, requires_grad=True), torch.ones(5, 40)
    mask[0, 0] = 0  # a padded batch, whose mask is needed
    call = {"inputs_embeds": embeds, "attention_mask": mask, "use_cache": False}
    found = kept_bytes(llm, lambda: llm(**call).last_hidden_state)
    fake = on_meta(text)
    copies = one_of_each(fake)
    with torch.device("meta"):
        counted = llm_pass(get_peft_model(fake, lora), copies)
    assert counted.activations(200 / PROMPT) == pytest.approx(found, rel=0.05)
    assert counted.activations(200 / PROMPT, checkpointing=True) < 0.6 * found
