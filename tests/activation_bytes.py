"""Counts what autograd keeps for the backward pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class SavedBytes:
    """Bytes of the distinct storages that were saved."""

    def __init__(self, ignore: Iterable[Tensor]) -> None:
        self._known = {tensor.untyped_storage().data_ptr() for tensor in ignore}
        # Held, so that no address is used twice.
        self._held: list[torch.UntypedStorage] = []

    @property
    def total(self) -> int:
        return sum(storage.nbytes() for storage in self._held)

    def keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._known:
            self._known.add(storage.data_ptr())
            self._held.append(storage)
        return tensor


@contextmanager
def saved_bytes(ignore: Iterable[Tensor] = ()) -> Iterator[SavedBytes]:
    """What is saved inside, but for the storages of `ignore`; what a checkpoint computes again is not saved."""
    count = SavedBytes(ignore)
    with torch.autograd.graph.saved_tensors_hooks(count.keep, lambda tensor: tensor):
        yield count
