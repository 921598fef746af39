"""What a forward pass takes, counted on the modules themselves with fake tensors: no weights, no memory.

Under bfloat16 autocast and with a fused attention kernel, as on a GPU. What autograd keeps is the difference between
two samples and one, in which weights and their bfloat16 copies are not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from transformers import InternVLVisionModel
from transformers.modeling_layers import GradientCheckpointingLayer

from liteframe.models.flop_count import Cost, FlopCounter, cost_of
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder

PROMPT = 16
"""Tokens of an LLM's sample: few, so that the attention mask, which grows with their square, is next to nothing."""


@dataclass(frozen=True)
class ForwardPass:
    """What one sample takes: a clip, a visual token, or a prompt of `PROMPT` tokens.

    Attributes:
        cost: operations.
        kept: bytes that autograd keeps for the backward pass.
        checkpointed: bytes that it keeps with gradient checkpointing: the input of each block, and one block at a time
            in full.
        output: bytes of the result.
    """

    cost: Cost
    kept: float
    checkpointed: float
    output: float

    def activations(self, samples: float, checkpointing: bool = False, chunk: int | None = None) -> float:
        """Bytes that autograd keeps of so many samples.

        Args:
            checkpointing: gradient checkpointing, block by block; in chunks, it keeps the output, and one chunk at a
                time in full.
            chunk: samples of a chunk, for `checkpointing`.
        """
        if not checkpointing:
            return samples * self.kept
        if chunk is None:
            return samples * self.checkpointed
        return samples * self.output + min(chunk, samples) * self.kept

    def prompt_cost(self, tokens: int) -> Cost:
        """Operations of a prompt of `tokens` tokens, of an LLM."""
        times = tokens / PROMPT
        return Cost(self.cost.linear * times, self.cost.attention * times**2)


def student_pass(config: LiteFrameConfig, image_size: tuple[int, int]) -> ForwardPass:
    """One clip through the student, from its pixels to the teacher's feature space."""
    with torch.device("meta"):
        encoder = LiteFrameEncoder(config)
        frames_BCHW = torch.empty(config.clip_frames, config.num_channels, *image_size)
        patches = frames_BCHW.unflatten(0, (-1, config.tubelet_frames)).flatten(1, 2)
        pixels = cost_of(lambda: encoder.patch_embedding(patches)).linear
    counted = forward_pass(encoder, lambda clips: torch.empty(clips, *frames_BCHW.shape, dtype=torch.uint8))
    return replace(counted, cost=replace(counted.cost, linear=counted.cost.linear - pixels, pixels=pixels))


def projector_pass(projector: Any) -> ForwardPass:
    """One visual token, counted after the pixel shuffle, through the base VLM's projector."""
    width = projector.linear_1.in_features
    return forward_pass(projector, lambda tokens: torch.empty(tokens, width, dtype=torch.bfloat16).requires_grad_())


def llm_pass(llm: Any, copies: Sequence[int]) -> ForwardPass:
    """`PROMPT` tokens through an LLM without its head.

    Args:
        llm: in bfloat16, with one layer of each kind, see `one_of_each`, and perhaps with adapters.
        copies: layers of each kind.
    """
    width = llm.config.hidden_size

    def prompts(samples: int) -> Tensor:
        return torch.empty(samples, PROMPT, width, dtype=torch.bfloat16).requires_grad_()

    return forward_pass(llm, prompts, lambda llm, embeds: llm(inputs_embeds=embeds, use_cache=False), copies)


def one_of_each(llm: Any) -> list[int]:
    """Leaves an LLM one layer of each kind, and says how many there were: so a large one is counted at once."""
    kinds: dict[tuple[Any, ...], list[nn.Module]] = {}
    for layer in llm.layers:
        kinds.setdefault(tuple((name, *p.shape) for name, p in layer.named_parameters()), []).append(layer)
    llm.layers = nn.ModuleList(layers[0] for layers in kinds.values())
    return [len(layers) for layers in kinds.values()]


def vision_tower_flops(vision: Any, image_size: tuple[int, int]) -> float:
    """Operations of one frame through InternVL's image encoder.

    Args:
        vision: an `InternVLVisionConfig`.
        image_size: height and width in pixels.
    """
    one, two = (_tower_flops(vision, layers, image_size) for layers in (1, 2))
    return one + (vision.num_hidden_layers - 1) * (two - one)  # its layers are alike


def _tower_flops(vision: Any, layers: int, image_size: tuple[int, int]) -> float:
    config = deepcopy(vision)
    config.num_hidden_layers = layers
    with torch.device("meta"):
        tower: Any = InternVLVisionModel(config)
        frame_BCHW = torch.empty(1, config.num_channels, *image_size)
        return cost_of(lambda: tower(frame_BCHW)).forward


def forward_pass(
    module: nn.Module,
    samples: Callable[[int], Tensor],
    run: Callable[[nn.Module, Tensor], Any] = lambda module, tensor: module(tensor),
    copies: Sequence[int] | None = None,
) -> ForwardPass:
    """Counts a module on `meta`, which stays as it is.

    Args:
        module: its blocks are what gradient checkpointing keeps the input of.
        samples: an input of so many samples.
        run: calls the module.
        copies: how many blocks each of the module's blocks stands for.
    """
    fake = deepcopy(module)
    with torch.device("cpu"), FakeTensorMode(allow_non_fake_inputs=True):
        fake.to_empty(device="cpu")
        (cost, one), (_, two) = (_read(fake, samples(count), run, copies) for count in (1, 2))
    kept, lean, output, *blocks = (two - one).tolist()
    return ForwardPass(cost, kept, lean + max(blocks, default=0.0), output)


def _read(
    module: nn.Module, tensor: Tensor, run: Callable[[nn.Module, Tensor], Any], copies: Sequence[int] | None
) -> tuple[Cost, NDArray[np.float64]]:
    """Operations; and bytes: all that is kept, what is kept without blocks but for their inputs, output, each block."""
    counter, saved = FlopCounter(), _Saved()
    starts: list[tuple[Cost, int]] = []
    costs, inputs, blocks = [], [], []

    def enter(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        starts.append((counter.cost, saved.total))
        inputs.append(args[0].nbytes)

    def leave(*_: Any) -> None:
        cost, total = starts.pop()
        costs.append(counter.cost + cost * -1)
        blocks.append(saved.total - total)

    layers = [layer for layer in module.modules() if isinstance(layer, GradientCheckpointingLayer)]
    hooks = [hook for layer in layers for hook in _hooks(layer, enter, leave)]
    with torch.autocast("cpu", torch.bfloat16), _NormsInFloat32(), counter, saved.hooks():
        output = run(module, tensor)
    for hook in hooks:
        hook.remove()
    times = copies or [1] * len(layers)
    cost = sum((cost * (n - 1) for cost, n in zip(costs, times, strict=True)), counter.cost)
    ends = saved.total - sum(blocks)
    result = output if isinstance(output, Tensor) else output[0]
    sizes = [ends + np.dot(times, blocks), ends + np.dot(times, inputs), result.nbytes, *blocks]
    return cost, np.array(sizes, dtype=np.float64)


def _hooks(layer: nn.Module, enter: Callable[..., None], leave: Callable[..., None]) -> list[Any]:
    return [layer.register_forward_pre_hook(enter), layer.register_forward_hook(leave)]


class _Saved:
    """Bytes of the distinct storages that autograd saves."""

    def __init__(self) -> None:
        self.total = 0
        self._seen: set[StorageWeakRef] = set()

    def hooks(self) -> torch.autograd.graph.saved_tensors_hooks:
        return torch.autograd.graph.saved_tensors_hooks(self._save, lambda tensor: tensor)

    def _save(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        reference = StorageWeakRef(storage)
        if reference not in self._seen:
            self._seen.add(reference)
            self.total += storage.nbytes()
        return tensor


class _NormsInFloat32(TorchFunctionMode):
    """Layer norms as autocast has them on a GPU; on a CPU they stay in bfloat16."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.layer_norm:
            args = (args[0].float(), *args[1:])
        return func(*args, **(kwargs or {}))
