"""Short attention of a half precision is computed in float32 on a CPU where it is trained, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from liteframe.models.acceleration.cpu_attention import ShortAttentionInFloat32


class _Dtypes(TorchDispatchMode):
    """Notes the dtypes that kernels of attention are given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.dtype] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if "scaled_dot_product" in name and "backward" not in name:
            self.seen.append(args[0].dtype)
        return func(*args, **(kwargs or {}))


def _inputs(tokens: int, dtype: torch.dtype, requires_grad: bool = True) -> list[Tensor]:
    torch.manual_seed(tokens)
    return [torch.randn(2, 3, tokens, 16, dtype=dtype).requires_grad_(requires_grad) for _ in range(3)]


@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_it_is_nearer_to_exact_attention_and_its_gradients(autocast: bool, masked: bool) -> None:
    inputs = _inputs(50, torch.float32 if autocast else torch.bfloat16)
    mask = torch.zeros(50, 50).masked_fill(torch.ones(50, 50).triu(1).bool(), -torch.inf) if masked else None
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    logits = exact[0] @ exact[1].mT / 4
    wanted = ((logits if mask is None else logits + mask).softmax(-1)) @ exact[2]
    wanted.backward(torch.ones_like(wanted))

    given = None if mask is None else mask.to(inputs[0].dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast), _Dtypes() as dtypes, ShortAttentionInFloat32():
        found = F.scaled_dot_product_attention(*inputs, attn_mask=given)
    found.backward(torch.ones_like(found))

    assert found.dtype == torch.bfloat16
    assert dtypes.seen == [torch.float32]
    torch.testing.assert_close(found.double(), wanted, rtol=1e-2, atol=1e-2)
    for tensor, reference in zip(inputs, exact, strict=True):
        assert tensor.grad is not None and tensor.grad.dtype == tensor.dtype
        torch.testing.assert_close(tensor.grad.double(), reference.grad, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(
    ("tokens", "dtype", "requires_grad", "computed"),
    [
        (300, torch.bfloat16, True, torch.bfloat16),
        (50, torch.bfloat16, False, torch.bfloat16),
        (50, torch.float64, True, torch.float64),
        (50, torch.float16, True, torch.float32),
    ],
    ids=["long", "not trained", "exact", "float16"],
)
def test_where_it_would_bring_nothing_all_is_as_without(
    tokens: int, dtype: torch.dtype, requires_grad: bool, computed: torch.dtype
) -> None:
    inputs = _inputs(tokens, dtype, requires_grad)
    with _Dtypes() as dtypes, ShortAttentionInFloat32():
        found = F.scaled_dot_product_attention(*inputs)
    assert dtypes.seen == [computed] and found.dtype == dtype
    with ShortAttentionInFloat32(), torch.no_grad(), _Dtypes() as dtypes:
        F.scaled_dot_product_attention(*inputs)
    assert dtypes.seen == [dtype]
