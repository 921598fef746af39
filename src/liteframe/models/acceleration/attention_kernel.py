"""Which kernel `scaled_dot_product_attention` runs: chosen by a measurement, and told from what ran."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
"""Name -> kernel of torch. Any shape can run on "math", which holds the weights of all pairs of tokens."""
_PREFIX = "_scaled_dot_product_"


def rank_kernels(query: Tensor, time_of: Callable[[Callable[[], object]], float]) -> dict[str, float]:
    """The time that each kernel takes for self-attention, the fastest first; those that cannot run it are left out.

    Args:
        query: (B, heads, N, C), which stands for keys and values too.
        time_of: times a function.
    """
    times = {}
    for name, backend in KERNELS.items():
        try:
            with sdpa_kernel(backend):
                times[name] = time_of(lambda: F.scaled_dot_product_attention(query, query, query))
        except RuntimeError:  # no such kernel for this shape, dtype or device; also too little memory for "math"
            continue
    return dict(sorted(times.items(), key=lambda item: item[1]))


@contextmanager
def preferring(names: list[str]) -> Iterator[None]:
    """Within it, attention runs on the first of these kernels that can run it; without names, on torch's choice."""
    if not names:
        yield
        return
    with sdpa_kernel([KERNELS[name] for name in names], set_priority=True):
        yield


class KernelsThatRan(TorchDispatchMode):
    """A context that notes which kernels attention ran on, as torch calls them: "flash_attention", "cudnn_attention".

    Attention that is multiplied out, by "math" or by a model itself, leaves no name.

    Attributes:
        names: of the kernels, each once, in the order of their first calls.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name.startswith(_PREFIX) and (kernel := name.removeprefix(_PREFIX)) not in self.names:
            self.names.append(kernel)
        return func(*args, **(kwargs or {}))
