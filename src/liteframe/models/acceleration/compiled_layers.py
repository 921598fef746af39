"""`torch.compile` of the layers that a model repeats, which are compiled once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from types import FunctionType
from typing import Any

import torch
from torch import nn

from liteframe.models.acceleration.fallback import warn_of_fallback


class CompiledOrNot:
    """A compiled function, or the function itself once compiling it has failed, of which one warning tells."""

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        self._function, self._compiled = function, torch.compile(_twin(function), **options)
        self.failed = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.failed:
            try:
                return self._compiled(*args, **kwargs)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                self.failed = True
                warn_of_fallback("torch.compile", error)
        return self._function(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> CompiledOrNot:
        return self  # a function of the layer it is called with, whosever that is


def _twin(function: Any) -> FunctionType:
    """The function with a code object of its own, by which torch keeps what it compiled.

    Otherwise what was compiled for one attention kernel would be taken for another, and models of one class would
    share the few graphs that torch allows.
    """
    twin = FunctionType(
        function.__code__.replace(),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    twin.__kwdefaults__ = function.__kwdefaults__
    return twin


def compile_layers(layers: Iterable[nn.Module], **options: Any) -> CompiledOrNot:
    """Compiles the forward pass of equal layers, once for all of them, where a whole model is compiled layer by layer.

    Args:
        layers: of one class.
        options: of `torch.compile`; with ``dynamic=False`` each shape is compiled, with ``True`` one graph serves all.

    Returns:
        What runs in each of them.

    Raises:
        ValueError: there are no layers, or they are of several classes.
    """
    each = list(layers)
    kinds = {type(layer) for layer in each}
    if len(kinds) != 1:
        raise ValueError(f"layers of {len(kinds)} classes; give those of one")
    compiled = CompiledOrNot(kinds.pop().forward, **options)
    for layer in each:
        layer.forward = partial(compiled, layer)
    return compiled
