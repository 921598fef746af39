"""How long the operations of a training step take alone: no faster code between them makes it shorter than that."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

_CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_PRODUCTS = {*flop_registry, _CPU_ATTENTION, torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward}
_ROUNDS, _CALLS = 5, 4


class Operations(TorchDispatchMode):
    """Notes each operation with the shapes of what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: Counter[Hashable] = Counter()
        self._given: dict[Hashable, tuple[Callable[..., Any], Any, Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not func.is_view:
            given = tree_map(_form, (args, kwargs))
            call = (func, *map(repr, tree_leaves(given, is_leaf=lambda value: isinstance(value, _Form))))
            self._calls[call] += 1
            self._given.setdefault(call, (func, *given))
        return func(*args, **kwargs)

    def least_s(self) -> tuple[float, float]:
        """Seconds of the matrix products, convolutions and attention one after the other, and of all operations.

        Each is called on values of no account, and counts with the least of some rounds.
        """
        seconds = {call: count * _least_s(*self._given[call]) for call, count in self._calls.items()}
        products = sum(taken for call, taken in seconds.items() if self._given[call][0]._overloadpacket in _PRODUCTS)
        return products, sum(seconds.values())


class _Form:
    """What of a tensor counts for the time: of whole numbers and masks, which point to others, the values too."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._of = tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device
        self._values = None if tensor.is_floating_point() else tensor.clone()

    def __repr__(self) -> str:
        return repr(self._of)

    def filled(self) -> torch.Tensor:
        if self._values is not None:
            return self._values
        shape, stride, dtype, device = self._of
        span = 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
        return torch.empty(span, dtype=dtype, device=device).uniform_(0.1, 0.9).as_strided(shape, stride)


def _form(value: Any) -> Any:
    return _Form(value) if isinstance(value, torch.Tensor) else value


def _filled(value: Any) -> Any:
    return value.filled() if isinstance(value, _Form) else value


@torch.no_grad()
def _least_s(func: Callable[..., Any], args: Any, kwargs: Any) -> float:
    """Seconds of a call in a row of some, of which each waits for none."""
    args, kwargs = tree_map(_filled, (args, kwargs))
    seconds = []
    for _ in range(_ROUNDS):
        _wait()
        began = time.perf_counter()
        for _ in range(_CALLS):
            func(*args, **kwargs)
        _wait()
        seconds.append((time.perf_counter() - began) / _CALLS)
    return min(seconds)


def _wait() -> None:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
