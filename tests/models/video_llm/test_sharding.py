"""A Video LLM shared out over two ranks answers and learns as one that is whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from host_world import family_folder
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.model import LiteFrameBackbone, VideoLLM
from liteframe.models.video_llm.prompts import Turn
from liteframe.models.video_llm.sharding import gather, shard
from ranks import run_ranks
from tiny_world import ENCODER

TALKS: list[list[Turn]] = [[("color of the star", "red")], [("color of the ball", "blue")]]
RATE = 0.5


def video_llm(text: str, chunk_clips: int | None = None) -> VideoLLM:
    host, processor = load_base_vlm(str(family_folder(text, "300M")))
    host.requires_grad_(False)
    torch.manual_seed(0)
    lora = LoraConfig(r=4, target_modules=["q_proj", "o_proj", "down_proj"], init_lora_weights=False)
    host.model.language_model = get_peft_model(host.model.language_model, lora)
    encoder = LiteFrameEncoder(LiteFrameConfig(**{**ENCODER, "output_size": 32}))
    encoder.save_memory(chunk_clips, checkpoint=chunk_clips is not None)
    model = VideoLLM(host, processor, LiteFrameBackbone(encoder), frames_per_group=4).train()
    model.backbone.requires_grad_(True)
    model.projector.requires_grad_(True)
    return model


def loss_of(model: VideoLLM, videos: list[int], lengths: tuple[int, int]) -> torch.Tensor:
    total = torch.zeros(())
    for video in videos:
        length = lengths[video]
        frames = torch.randn(2, 8, 3, 112, 112, generator=torch.Generator().manual_seed(5))[[video], :length]
        logits, labels, _ = model.answer_logits([TALKS[video]], model.project(model.encode(frames)), [length // 4])
        total = total + torch.nn.functional.cross_entropy(logits, labels, reduction="sum") / 2
    return total


def trained(model: VideoLLM) -> dict[str, torch.nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def step(model: VideoLLM, videos: list[int], lengths: tuple[int, int], ranks: int = 1) -> None:
    """Two steps; gradients are means over ranks, where one rank takes the sum over its videos."""
    optimizer = torch.optim.SGD(list(trained(model).values()), lr=RATE)
    for _ in range(2):
        optimizer.zero_grad()
        (ranks * loss_of(model, videos, lengths)).backward()
        optimizer.step()


def sharded_rank(rank: int, text: str, folder: Path, lengths: tuple[int, int], chunk_clips: int | None) -> None:
    dist.init_process_group("gloo", rank=rank, world_size=2)
    model = shard(video_llm(text, chunk_clips), init_device_mesh("cpu", (2,)))
    parameters = dict(model.named_parameters())
    assert all(isinstance(parameter, DTensor) for parameter in parameters.values())
    held = sum(parameter.to_local().numel() for parameter in parameters.values())  # type: ignore[attr-defined]
    whole = sum(parameter.numel() for parameter in parameters.values())
    assert held < 0.55 * whole, "half of the weights on each rank"
    step(model, [rank], lengths, ranks=2)
    gather(model, trained_only=True)
    left = [name for name, parameter in model.named_parameters() if isinstance(parameter, DTensor)]
    assert left and all("lora" not in name and "backbone" not in name for name in left)
    if rank == 0:
        save_file({name: p.detach().contiguous() for name, p in trained(model).items()}, folder / "two.safetensors")
    dist.barrier()
    os._exit(0)


@pytest.mark.parametrize(
    ("text", "lengths", "chunk_clips"), [("qwen3", (8, 8), None), ("qwen3_moe", (8, 8), None), ("qwen3", (4, 8), 1)]
)
def test_two_ranks_learn_as_one(text: str, lengths: tuple[int, int], chunk_clips: int | None, tmp_path: Path) -> None:
    """Also where one of them runs its encoder on more chunks than the other."""
    family_folder(text, "300M")
    before = {name: parameter.detach().clone() for name, parameter in trained(video_llm(text)).items()}
    one = video_llm(text)
    step(one, [0, 1], lengths)
    assert run_ranks(sharded_rank, 2, text, tmp_path, lengths, chunk_clips) == [0, 0]
    two = load_file(tmp_path / "two.safetensors")
    assert set(two) == set(trained(one))
    moved = 0.0
    for name, parameter in trained(one).items():
        torch.testing.assert_close(two[name], parameter.detach(), rtol=1e-4, atol=1e-5, msg=name)
        moved = max(moved, float((parameter.detach() - before[name]).abs().max()))
    assert moved > 1e-3, "something was learnt"
