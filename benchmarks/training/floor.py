"""The least time that a step could take: its matrix products, convolutions and attention, each alone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.flop_counter import flop_registry

_TIMES = 5


class Products(TorchDispatchMode):
    """Notes each operation whose number of operations torch counts, with the shapes of what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: Counter[Hashable] = Counter()
        self._given: dict[Hashable, tuple[Callable[..., Any], Any, Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._overloadpacket in flop_registry:
            given = tree_map(_without_values, (args, kwargs or {}))
            call = (func, *map(repr, tree_flatten(given)[0]))
            self._calls[call] += 1
            self._given.setdefault(call, (func, *given))
        return func(*args, **(kwargs or {}))

    def least_s(self) -> float:
        """Seconds that they take one after the other, each in the least of some times on values of no account."""
        return sum(count * _least_s(*self._given[call]) for call, count in self._calls.items())


def _without_values(value: Any) -> Any:
    return value.to("meta") if isinstance(value, torch.Tensor) else value


def _least_s(func: Callable[..., Any], args: Any, kwargs: Any) -> float:
    device = "cuda" if torch.cuda.is_available() and torch.cuda.is_initialized() else "cpu"

    def filled(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        made = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=device)
        return made.uniform_(0.1, 0.9) if made.is_floating_point() else made.zero_()

    args, kwargs = tree_map(filled, (args, kwargs))
    seconds = []
    with torch.no_grad():
        for _ in range(_TIMES):
            _wait(device)
            began = time.perf_counter()
            func(*args, **kwargs)
            _wait(device)
            seconds.append(time.perf_counter() - began)
    return min(seconds)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
