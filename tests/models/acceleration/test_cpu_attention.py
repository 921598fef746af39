"""Short attention of a half precision is multiplied out on a CPU where it is trained, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from liteframe.models.acceleration.attention_kernel import KernelsThatRan
from liteframe.models.acceleration.cpu_attention import ShortAttentionMultipliedOut

_KERNEL = ["flash_attention_for_cpu"]


def _inputs(tokens: int, dtype: torch.dtype, requires_grad: bool = True, kv_heads: int = 4) -> list[Tensor]:
    torch.manual_seed(tokens)
    heads = (4, kv_heads, kv_heads)
    return [torch.randn(2, of, tokens, 16, dtype=dtype).requires_grad_(requires_grad) for of in heads]


def _exact(inputs: list[Tensor], may_attend_NM: Tensor | None, scale: float) -> list[Tensor]:
    """Attention in float64, one head of one sequence at a time, and the gradients of the sum of its squares."""
    query, key, value = (tensor.detach().double().requires_grad_() for tensor in inputs)
    rows = []
    for sequence in range(len(query)):
        for head in range(query.shape[1]):
            of = head * key.shape[1] // query.shape[1]
            logits = query[sequence, head] @ key[sequence, of].T * scale
            if may_attend_NM is not None:
                mask = may_attend_NM if may_attend_NM.ndim == 2 else may_attend_NM[sequence, 0]
                logits = torch.where(mask, logits, -torch.inf)
            rows.append(logits.softmax(-1) @ value[sequence, of])
    found = torch.stack(rows).view(*query.shape)
    return [found.detach(), *torch.autograd.grad(found.square().sum(), (query, key, value))]


_CAUSAL = torch.ones(50, 50).tril().bool()
_PADDED = torch.ones(2, 1, 50, 50).tril().bool() & (torch.arange(50) < torch.tensor([50, 30]).view(2, 1, 1, 1))


@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize(
    ("options", "may_attend", "kv_heads"),
    [
        ({}, None, 4),
        ({"scale": 0.1}, None, 4),
        ({"is_causal": True}, _CAUSAL, 4),
        ({"attn_mask": _PADDED}, _PADDED, 4),
        ({"is_causal": True, "enable_gqa": True}, _CAUSAL, 2),
    ],
    ids=["all", "scale", "causal", "mask", "grouped"],
)
def test_it_is_attention_with_its_gradients(
    autocast: bool, options: dict[str, Any], may_attend: Tensor | None, kv_heads: int
) -> None:
    inputs = _inputs(50, torch.float32 if autocast else torch.bfloat16, kv_heads=kv_heads)
    with (
        torch.autocast("cpu", torch.bfloat16, enabled=autocast),
        KernelsThatRan() as kernels,
        ShortAttentionMultipliedOut(),
    ):
        found = F.scaled_dot_product_attention(*inputs, **options)
    found.float().square().sum().backward()
    assert found.dtype == torch.bfloat16 and kernels.names == []
    wanted = _exact(inputs, may_attend, options.get("scale", 0.25))
    for got, exact in zip([found.detach(), *(tensor.grad for tensor in inputs)], wanted, strict=True):
        assert got is not None
        torch.testing.assert_close(got.double(), exact, rtol=2e-2, atol=1e-2 * float(exact.abs().max()))


def test_padding_that_attends_to_nothing_spoils_no_gradients() -> None:
    inputs = _inputs(8, torch.bfloat16)
    nothing = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    nothing[..., :4, :4] = True
    with ShortAttentionMultipliedOut():
        found = F.scaled_dot_product_attention(*inputs, attn_mask=nothing)
    found[:, :, :4].float().sum().backward()
    assert all(tensor.grad is not None and tensor.grad.isfinite().all() for tensor in inputs)


@pytest.mark.parametrize(
    ("tokens", "dtype", "requires_grad", "options"),
    [
        (600, torch.bfloat16, True, {}),
        (50, torch.bfloat16, False, {}),
        (50, torch.float32, True, {}),
        (50, torch.bfloat16, True, {"attn_mask": torch.zeros(50, 50, dtype=torch.bfloat16)}),
    ],
    ids=["long", "not trained", "float32", "numbers as mask"],
)
def test_where_it_would_bring_nothing_the_kernel_runs(
    tokens: int, dtype: torch.dtype, requires_grad: bool, options: dict[str, Any]
) -> None:
    inputs = _inputs(tokens, dtype, requires_grad)
    with KernelsThatRan() as kernels, ShortAttentionMultipliedOut():
        F.scaled_dot_product_attention(*inputs, **options)
    assert kernels.names == _KERNEL
    with ShortAttentionMultipliedOut(), torch.no_grad(), KernelsThatRan() as kernels:
        F.scaled_dot_product_attention(*inputs, **options)
    assert kernels.names == _KERNEL
