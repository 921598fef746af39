"""What stands in for the class token, against loops in Python numbers and torch's own attention."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from liteframe.errors import GeometryError
from liteframe.ops.pooling import average_pool
from liteframe.ops.saliency import attention_pool_query, mean_token, token_norms
from liteframe.ops.wap import saliency_pool, saliency_weights, wap_weights, weighted_average_pool


@pytest.fixture
def tokens() -> Tensor:
    return torch.randn(2, 4, 4, 6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def loop_pool(tokens: Tensor, saliency: Tensor, block: tuple[int, int, int], scale: float) -> tuple[Tensor, Tensor]:
    """Pooled tokens and weights, block by block and token by token."""
    batch, frames, rows, columns, channels = tokens.shape
    t, h, w = block
    pooled = torch.zeros(batch, frames // t, rows // h, columns // w, channels, dtype=tokens.dtype)
    weights = torch.zeros(tokens.shape[:4], dtype=tokens.dtype)
    for b, i, j, k in itertools.product(*map(range, pooled.shape[:4])):
        steps = itertools.product(range(t), range(h), range(w))
        places = [(b, i * t + di, j * h + dj, k * w + dk) for di, dj, dk in steps]
        shares = [math.exp(scale * float(saliency[place])) for place in places]
        for place, share in zip(places, shares, strict=True):
            weights[place] = share / sum(shares)
            pooled[b, i, j, k] += weights[place] * tokens[place]
    return pooled, weights


@pytest.mark.parametrize("block", [(4, 2, 2), (2, 1, 3), (1, 4, 6)])
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_pooling_by_a_number_a_token_equals_loops(tokens: Tensor, block: tuple[int, int, int], scale: float) -> None:
    saliency = torch.randn(tokens.shape[:4], dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    pooled, weights = loop_pool(tokens, saliency, block, scale)
    torch.testing.assert_close(saliency_pool(tokens, saliency, block, scale), pooled)
    torch.testing.assert_close(saliency_weights(saliency, block, scale), weights)


def test_the_mean_token_and_the_norm_equal_loops(tokens: Tensor) -> None:
    means, norms = torch.zeros(2, 4, 8, dtype=torch.float64), torch.zeros(2, 4, 4, 6, dtype=torch.float64)
    for b, t, h, w in itertools.product(range(2), range(4), range(4), range(6)):
        norms[b, t, h, w] = math.sqrt(sum(float(x) ** 2 for x in tokens[b, t, h, w]))
        for c in range(8):
            means[b, t, c] += float(tokens[b, t, h, w, c]) / 24
    torch.testing.assert_close(mean_token(tokens), means)
    torch.testing.assert_close(token_norms(tokens), norms)
    relative = token_norms(tokens, relative=True)
    for b, t in itertools.product(range(2), range(4)):
        length = sum(norms[b, t].flatten().tolist()) / 24
        torch.testing.assert_close(relative[b, t], norms[b, t] / length)
    torch.testing.assert_close(token_norms(7 * tokens, relative=True), relative)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_the_pooling_query_gives_the_logits_of_the_head(tokens: Tensor, heads: int) -> None:
    """Head by head: project the probe and each token, multiply, add up; the bias of the keys is a constant."""
    torch.manual_seed(2)
    pool = nn.MultiheadAttention(8, heads, batch_first=True).double()
    nn.init.normal_(pool.in_proj_bias)
    probe = torch.randn(8, dtype=torch.float64)
    weight_q, weight_k, _ = pool.in_proj_weight.detach().chunk(3)
    bias_q, bias_k, _ = pool.in_proj_bias.detach().chunk(3)
    query = attention_pool_query(probe, weight_q, bias_q, weight_k)
    frame = tokens[0, 0].reshape(24, 8)
    logits, width = torch.zeros(24, dtype=torch.float64), 8 // heads
    for n, head in itertools.product(range(24), range(heads)):
        part = slice(head * width, (head + 1) * width)
        own_query, own_key = (weight_q @ probe + bias_q)[part], (weight_k @ frame[n] + bias_k)[part]
        logits[n] += sum(float(a) * float(b) for a, b in zip(own_query, own_key, strict=True))
    torch.testing.assert_close((frame @ query).diff(), logits.diff())
    if heads == 1:
        weights = wap_weights(tokens, query.expand(2, 4, 8), (1, 4, 6))
        _, shown = pool(probe.expand(8, 1, 8), tokens.reshape(8, 24, 8), tokens.reshape(8, 24, 8))
        torch.testing.assert_close(weights.reshape(8, 1, 24), shown)


def test_a_constant_saliency_is_the_average_and_a_large_scale_the_largest(tokens: Tensor) -> None:
    block = (4, 2, 2)
    torch.testing.assert_close(saliency_pool(tokens, torch.ones(tokens.shape[:4])), average_pool(tokens, block))
    weights = saliency_weights(token_norms(tokens), block, scale=1e9)
    assert torch.equal(weights.sum(), torch.tensor(2.0 * 2 * 3, dtype=torch.float64)), "one token of each block"


def test_bfloat16_is_weighed_in_float32_under_autocast_too(tokens: Tensor) -> None:
    rounded = (10 * tokens).bfloat16()
    probe, weight = torch.randn(8), torch.randn(8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert mean_token(rounded).dtype == token_norms(rounded).dtype == torch.float32
        pooled = saliency_pool(rounded, token_norms(rounded))
        query = attention_pool_query(probe, weight, None, weight)
    exact = saliency_pool(rounded.double(), token_norms(rounded.double()))
    assert pooled.dtype == torch.bfloat16
    torch.testing.assert_close(pooled.double(), exact, rtol=2**-7, atol=1e-3)
    assert torch.equal(query, attention_pool_query(probe, weight, None, weight))


def test_shapes_that_do_not_fit_are_refused(tokens: Tensor) -> None:
    with pytest.raises(GeometryError, match="one number a token"):
        saliency_pool(tokens, token_norms(tokens)[:, :3])
    with pytest.raises(GeometryError, match=r"axis H .* nearest legal: 3 or 6"):
        saliency_weights(token_norms(tokens), (4, 3, 2))
    with pytest.raises(GeometryError, match="axes"):
        token_norms(tokens[0])
    torch.testing.assert_close(weighted_average_pool(tokens, mean_token(tokens) * 0), average_pool(tokens))
