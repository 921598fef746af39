"""A Video LLM whose weights are shared out over the ranks of a run, for LLMs that one GPU cannot hold."""

from __future__ import annotations

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from transformers.modeling_layers import GradientCheckpointingLayer

from liteframe.models.video_llm.model import VideoLLM

_ENTRANCES = ("encode", "project", "prefill", "answer_logits")
"""Methods of `VideoLLM` that run it; for each, weights have to be there as they are for a `forward`."""


def shard(model: VideoLLM, mesh: DeviceMesh) -> VideoLLM:
    """Shares out the weights of a model over the ranks of a mesh, in place, by torch's `fully_shard`.

    Layers of the LLM, and the encoder as one, are whole only while they run; what lies outside of them (embeddings,
    head, projector) is whole from its first use in a step to the end of it. Gradients are means over the ranks.
    Ranks have to run the model equally often, but their videos may differ in length.

    Args:
        model: the same on all ranks, its adapters on and its frozen parts frozen.
        mesh: of one axis.
    """
    for module in model.language_model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            fully_shard(module, mesh=mesh)
    # Not block by block: how often those run, chunk after chunk, depends on the rank's videos.
    fully_shard(getattr(model.backbone, "encoder", model.backbone), mesh=mesh)
    fully_shard(model, mesh=mesh)
    for name in _ENTRANCES:
        register_fsdp_forward_method(model, name)
    return model


@torch.no_grad()
def gather(module: nn.Module, trained_only: bool = False) -> None:
    """Makes parameters whole again on every rank, on the CPU and in place; all ranks have to call it.

    For saving: the module takes no part in another step.

    Args:
        module: part of a model that `shard` was given, or all of it.
        trained_only: leave frozen parameters shared out, for an LLM that does not fit.
    """
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            if isinstance(parameter, DTensor) and (parameter.requires_grad or not trained_only):
                whole = parameter.full_tensor().cpu()
                part.register_parameter(name, nn.Parameter(whole, parameter.requires_grad))
