"""Chunks and gradient checkpointing change what is held in memory, and neither an output nor a gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from activation_bytes import saved_bytes
from liteframe.errors import ConfigError
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from tiny_world import ENCODER

WAYS: list[dict[str, Any]] = [
    {"chunk_clips": 1, "checkpoint": True},
    {"chunk_clips": 2, "checkpoint": True},
    {"chunk_clips": 3, "checkpoint": False},
    {"chunk_clips": 4, "checkpoint": True},
    {"chunk_clips": 100, "checkpoint": True},
    {"chunk_clips": None, "checkpoint": True},
]


def encoder(**more: Any) -> LiteFrameEncoder:
    """With mixers that do mix: as they start, no clip could show in another. In float64, to see what is exact."""
    generator = torch.Generator().manual_seed(0)
    model = LiteFrameEncoder(LiteFrameConfig(**{**ENCODER, **more})).double().train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def frames(batch: int, count: int) -> Tensor:
    return torch.randn(batch, count, 3, 112, 112, generator=torch.Generator().manual_seed(1)).double()


def output_and_gradients(model: LiteFrameEncoder, frames_BTCHW: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    out = model(frames_BTCHW).last_hidden_state
    (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
    return out.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("shape", [(3, 4), (2, 10), (1, 17)], ids=str)
def test_outputs_and_gradients_are_those_of_all_clips_at_once(way: dict[str, Any], shape: tuple[int, int]) -> None:
    model = encoder()
    expected, gradients = output_and_gradients(model, frames(*shape))
    model.save_memory(**way)
    found, others = output_and_gradients(model, frames(*shape))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    assert set(gradients) == set(others) == {name for name, _ in model.named_parameters()}
    for name, gradient in gradients.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(others[name] / scale, gradient / scale, rtol=0, atol=1e-10, msg=name)


@pytest.mark.parametrize("mixer", ["depthwise", "none"])
def test_no_mixer_crosses_clips(mixer: str) -> None:
    """Why chunks of whole clips are exact: what another clip shows changes nothing, what its own shows does."""
    model = encoder(temporal_mixer=mixer).eval()
    pixels = frames(1, 12)
    changed = pixels.clone()
    changed[:, 7] += 1.0
    with torch.no_grad():
        before, after = (model(seen).last_hidden_state for seen in (pixels, changed))
    assert torch.equal(before[:, [0, 2]], after[:, [0, 2]])
    assert not torch.allclose(before[:, 1], after[:, 1], atol=1e-3)


def test_the_backward_pass_goes_chunk_by_chunk() -> None:
    model = encoder()
    model.save_memory(chunk_clips=2, checkpoint=True)
    seen: list[int] = []
    model.patch_embedding.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    out = model(frames(1, 18)).last_hidden_state
    assert seen == [8, 8, 2]
    out.sum().backward()
    assert sorted(seen[3:]) == [2, 8, 8]


def test_chunks_serve_without_gradients_too() -> None:
    model = encoder().eval()
    with torch.no_grad():
        expected = model(frames(2, 8)).last_hidden_state
        model.save_memory(chunk_clips=1, checkpoint=True)
        largest: list[int] = []
        model.patch_embedding.register_forward_pre_hook(lambda _, inputs: largest.append(len(inputs[0])))
        torch.testing.assert_close(model(frames(2, 8)).last_hidden_state, expected, rtol=1e-10, atol=1e-10)
    assert largest == [4, 4, 4, 4]


def test_what_is_kept_does_not_grow_with_the_frames() -> None:
    """Beside the pixels, which the batch holds anyway, and the tokens that come out."""

    def kept(clips: int, **way: Any) -> tuple[int, int]:
        model, pixels = encoder(), frames(1, 4 * clips)
        model.save_memory(**way)
        with saved_bytes(ignore=[pixels, *model.parameters()]) as count:
            tokens = model(pixels).last_hidden_state
        return count.total, tokens.numel() * tokens.element_size()

    for way in ({"chunk_clips": 1, "checkpoint": True}, {"chunk_clips": 2, "checkpoint": True}):
        few, few_tokens = kept(4, **way)
        many, many_tokens = kept(16, **way)
        assert many - few <= many_tokens - few_tokens
    few, few_tokens = kept(4)
    many, many_tokens = kept(16)
    assert many - few > 20 * (many_tokens - few_tokens), "as it is without: the count sees activations"


def test_a_chunk_has_a_clip() -> None:
    with pytest.raises(ConfigError, match="chunk_clips is 0; give 1 or more"):
        encoder().save_memory(chunk_clips=0)
