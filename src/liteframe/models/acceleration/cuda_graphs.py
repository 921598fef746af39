"""CUDA graphs of a forward pass, one for each shape: the CPU launches a whole graph in place of hundreds of kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from liteframe.models.acceleration.fallback import warn_of_fallback

_WARM_UPS = 3
"""Passes before a capture, on a stream of their own, as torch asks for: libraries allocate their workspaces in them."""

Forward = Callable[[Tensor], Any]


@dataclass(frozen=True)
class CapturedGraph:
    """A recorded forward pass.

    Attributes:
        replay: runs it again.
        static_input: what it reads; `output` is what it writes, a tensor or a dict of tensors.
    """

    replay: Callable[[], None]
    static_input: Tensor
    output: Any

    def __call__(self, tensor: Tensor) -> Any:
        self.static_input.copy_(tensor)
        self.replay()
        return tree_map_only(Tensor, torch.clone, self.output)


class CUDAGraphs:
    """Forward passes replayed as CUDA graphs, captured at the first call for each shape, dtype and autocast dtype.

    Where gradients are wanted, off CUDA, and after a capture that failed (of which one warning tells), the function
    runs as it is. Graphs read the weights where they lay when captured: `forget` them when weights have moved.
    """

    def __init__(self) -> None:
        self._graphs: dict[tuple[Any, ...], CapturedGraph] = {}
        self._pool: Any = None
        self._failed = False

    def __call__(self, forward: Forward, tensor: Tensor) -> Any:
        """What `forward` gives of a tensor.

        Args:
            forward: always the same function; it returns a tensor or a dict of tensors.
            tensor: its argument.
        """
        if self._failed or torch.is_grad_enabled() or not _on_cuda(tensor):
            return forward(tensor)
        autocast = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else None
        key = (tensor.shape, tensor.stride(), tensor.dtype, tensor.device, autocast)
        if key not in self._graphs:
            try:
                # All graphs share memory: they run one after another, and what one gives is copied at once.
                self._pool = self._pool or torch.cuda.graph_pool_handle()
                self._graphs[key] = capture(forward, tensor, autocast, self._pool)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                self._failed = True
                warn_of_fallback("a CUDA graph", error)
                return forward(tensor)
        return self._graphs[key](tensor)

    def forget(self) -> None:
        """Drop all graphs."""
        self._graphs, self._pool = {}, None

    def __deepcopy__(self, memo: dict[int, Any]) -> CUDAGraphs:
        return CUDAGraphs()


def capture(forward: Forward, tensor: Tensor, autocast: torch.dtype | None, pool: Any) -> CapturedGraph:
    """A CUDA graph of `forward` for tensors of this shape, dtype and layout.

    Args:
        forward: of one tensor.
        tensor: an example.
        autocast: dtype of autocast, None for none.
        pool: memory of the graph, see `torch.cuda.graph_pool_handle`.
    """
    # Autocast's cache would hand the graph weights that are freed once autocast ends. Outside of inference mode, so
    # that the graph can be replayed outside of it as well.
    with (
        torch.cuda.device(tensor.device),
        torch.inference_mode(False),
        torch.no_grad(),
        torch.autocast("cuda", autocast or torch.bfloat16, enabled=autocast is not None, cache_enabled=False),
    ):
        static_input = torch.empty_strided(
            tensor.size(), tensor.stride(), dtype=tensor.dtype, device=tensor.device
        ).copy_(tensor)
        stream = torch.cuda.Stream(tensor.device)
        stream.wait_stream(torch.cuda.current_stream(tensor.device))
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                forward(static_input)
        torch.cuda.current_stream(tensor.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            output = forward(static_input)
    return CapturedGraph(graph.replay, static_input, output)


def _on_cuda(tensor: Tensor) -> bool:
    return tensor.is_cuda
