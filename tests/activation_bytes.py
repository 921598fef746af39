"""Counts what autograd keeps for the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class SavedBytes:
    """Bytes of the distinct storages that were saved.

    Args:
        ignore: tensors whose storages are left out.
        shapes: of tensors that are left out too, such as copies of weights in another dtype.
    """

    def __init__(self, ignore: Iterable[Tensor], shapes: Collection[tuple[int, ...]] = ()) -> None:
        self._known = {tensor.untyped_storage().data_ptr() for tensor in ignore}
        self._shapes = shapes
        # Held, so that no address is used twice.
        self._held: list[torch.UntypedStorage] = []

    @property
    def total(self) -> int:
        return sum(storage.nbytes() for storage in self._held)

    def keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._known and tuple(tensor.shape) not in self._shapes:
            self._known.add(storage.data_ptr())
            self._held.append(storage)
        return tensor


@contextmanager
def saved_bytes(ignore: Iterable[Tensor] = ()) -> Iterator[SavedBytes]:
    """What is saved inside, but for the storages of `ignore`; what a checkpoint computes again is not saved."""
    count = SavedBytes(ignore)
    with torch.autograd.graph.saved_tensors_hooks(count.keep, lambda tensor: tensor):
        yield count


def kept_bytes(module: nn.Module, run: Callable[[], Tensor]) -> int:
    """What autograd keeps for the backward pass under autocast, weights and their bfloat16 copies left out."""
    shapes = {tuple(parameter.shape) for parameter in module.parameters()}
    saved = SavedBytes(module.parameters(), shapes | {shape[::-1] for shape in shapes})
    hooks = torch.autograd.graph.saved_tensors_hooks(saved.keep, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16):
        result = run()
    assert result.requires_grad
    return saved.total
