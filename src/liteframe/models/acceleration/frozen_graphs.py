"""`torch.compile` of a forward pass with its weights as constants ("freezing"), for answers on a CPU.

As constants, weights are cast and laid out for the kernels once, where autocast and the kernels do so at each call.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as all_modules

from liteframe.models.acceleration.compiled_layers import CompiledOrNot
from liteframe.models.acceleration.fallback import warn_of_fallback

_MOST = 4
"""Graphs of an encoder: each takes a minute to compile."""
_MADE_IN_INFERENCE_MODE = RuntimeError(
    "the weights were made in inference mode, where torch does not count what is written to them; load and convert"
    " the model outside of torch.inference_mode()"
)


class FrozenGraphs:
    """Forward passes of a module, compiled with its weights as constants at the first call for each shape and dtype.

    The function runs as it is where gradients are wanted or the module is in training, for another number of clips or
    of threads, where somebody hooks into a module, and after a compilation that failed (of which one warning tells).

    Weights that are others, or were written to, are compiled anew, by torch's count of the writes to a tensor. Fused
    optimizers (``AdamW(fused=True)``) write without being counted, so graphs are also forgotten where the module is
    trained: by a call in training, or with gradients on for weights that want some. Writes to weights made in inference
    mode are not counted either, and those are not compiled. What nothing notices is a write through `weight.data`,
    ``weight.detach().numpy()`` or other memory shared with a weight, such as another process's: call `forget` after it.

    Args:
        batch: clips, or frames, that are compiled for.

    Attributes:
        failed: whether a compilation has failed, or weights made in inference mode were met.
    """

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.failed = False
        self._threads = torch.get_num_threads()  # which are a part of the code
        self._versions: list[tuple[int, int]] = []
        self._graphs: dict[tuple[Any, ...], CompiledOrNot] = {}

    def __call__(self, forward: Callable[[Tensor], Any], tensor: Tensor) -> Any:
        """What `forward` gives of a tensor.

        Args:
            forward: a method of the module, always the same one.
            tensor: its argument; its first axis counts clips, or frames.
        """
        module: nn.Module = forward.__self__  # type: ignore[attr-defined]
        if _is_trained(module):
            self.forget()
        weights = _weights(module) if self._takes(module, tensor) else None
        if weights is None:
            return forward(tensor)
        if any(weight.is_inference() for weight in weights):
            self.failed = True
            warn_of_fallback("torch.compile", _MADE_IN_INFERENCE_MODE)
            return forward(tensor)
        versions = [(weight.data_ptr(), weight._version) for weight in weights]
        if versions != self._versions:
            self._versions, self._graphs = versions, {}
        if torch.is_inference_mode_enabled() and not tensor.is_inference():
            tensor = tensor.clone()  # code for the one kind of tensor is not that for the other
        tensor, device = tensor.contiguous(), tensor.device.type
        autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        key = (tensor.shape, tensor.dtype, autocast, tensor.is_inference(), torch.is_inference_mode_enabled())
        graph = self._graphs.get(key)
        if graph is None:
            # Hooks that are there now would be compiled, too.
            if len(self._graphs) == _MOST or all_modules._has_any_global_hook():
                return forward(tensor)
            graph = self._graphs[key] = CompiledOrNot(forward.__func__, dynamic=False)  # type: ignore[attr-defined]
            with _freezing():
                output = graph(module, tensor)
        else:
            output = graph(module, tensor)
        self.failed = graph.failed
        return output

    def forget(self) -> None:
        """Drop all graphs."""
        self._graphs = {}

    def _takes(self, module: nn.Module, tensor: Tensor) -> bool:
        if self.failed or torch.is_grad_enabled() or module.training:
            return False
        return len(tensor) == self.batch and torch.get_num_threads() == self._threads

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenGraphs:
        return FrozenGraphs(self.batch)


def _freezing() -> AbstractContextManager[None]:
    """What is compiled within has its weights as constants; an option of `torch.compile` comes too late for that."""
    from torch._inductor import config  # here, as it takes long to import

    context: AbstractContextManager[None] = config.patch(freezing=True)
    return context


def _is_trained(module: nn.Module) -> bool:
    wants = torch.is_grad_enabled() and any(weight.requires_grad for weight in module.parameters())
    return module.training or wants


def _weights(module: nn.Module) -> list[Tensor] | None:
    """Parameters and buffers of a module; None where somebody hooks into it."""
    weights = []
    for part in module.modules():
        if part._forward_pre_hooks or part._forward_hooks:
            return None
        weights += [weight for weight in (*part._parameters.values(), *part._buffers.values()) if weight is not None]
    return weights
