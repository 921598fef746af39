from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from liteframe.errors import ConfigError, GeometryError
from liteframe.ops.pooling import average_pool, max_pool
from liteframe.ops.wap import wap_weights, weighted_average_pool


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def loop_wap(tokens: Tensor, cls: Tensor, block, similarity: str, scale: float) -> tuple[Tensor, Tensor]:
    """Pooled tokens and weights, block by block and token by token, in Python numbers."""
    batch, frames, rows, columns, channels = tokens.shape
    t, h, w = block
    pooled = torch.zeros(batch, frames // t, rows // h, columns // w, channels, dtype=tokens.dtype)
    weights = torch.zeros(tokens.shape[:4], dtype=tokens.dtype)
    for b, i, j, k in itertools.product(*map(range, pooled.shape[:4])):
        places = [
            (b, i * t + di, j * h + dj, k * w + dk) for di, dj, dk in itertools.product(range(t), range(h), range(w))
        ]
        scores = []
        for place in places:
            token, own_cls = tokens[place], cls[place[:2]]
            score = sum(float(x) * float(y) for x, y in zip(token, own_cls, strict=True))
            if similarity == "cosine":
                score /= float(token.norm()) * float(own_cls.norm())
            scores.append(math.exp(scale * score))
        for place, score in zip(places, scores, strict=True):
            weights[place] = score / sum(scores)
            pooled[b, i, j, k] += weights[place] * tokens[place]
    return pooled, weights


@pytest.mark.parametrize("block", [(4, 2, 2), (2, 1, 3), (1, 1, 1), (4, 4, 6)])
@pytest.mark.parametrize(("similarity", "scale"), [("dot", None), ("dot", 1.0), ("cosine", None), ("cosine", 20.0)])
def test_wap_equals_loops(block, similarity, scale):
    tokens, cls = torch.randn(2, 4, 4, 6, 8, dtype=torch.float64), torch.randn(2, 4, 8, dtype=torch.float64)
    default = 8**-0.5 if similarity == "dot" else 1.0
    pooled, weights = loop_wap(tokens, cls, block, similarity, default if scale is None else scale)
    arguments = {"block": block, "similarity": similarity, "scale": scale}
    torch.testing.assert_close(weighted_average_pool(tokens, cls, **arguments), pooled)
    torch.testing.assert_close(wap_weights(tokens, cls, **arguments), weights)


def random_grid(batch: int = 1, channels: int = 16) -> tuple[Tensor, Tensor]:
    return torch.randn(batch, 8, 4, 6, channels), torch.randn(batch, 8, channels)


def test_weights_of_each_block_sum_to_one():
    weights = wap_weights(*random_grid(2), scale=3.0)
    torch.testing.assert_close(average_pool(weights[..., None], (4, 2, 2)) * 16, torch.ones(2, 2, 2, 3, 1))


def test_equal_tokens_in_a_block_give_that_token_and_equal_logits_the_average():
    tokens, cls = random_grid()
    blocks = torch.randn(1, 2, 2, 3, 16)
    equal = blocks.repeat_interleave(4, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(weighted_average_pool(equal, cls, scale=5.0), blocks)
    torch.testing.assert_close(weighted_average_pool(tokens, torch.zeros_like(cls)), average_pool(tokens))


def test_order_of_tokens_within_a_frame_of_a_block_does_not_matter():
    tokens, cls = random_grid()
    shuffled = tokens.clone()
    shuffled[:, 1, 0:2, 2:4] = tokens[:, 1, 0:2, 2:4].flip(1, 2)
    torch.testing.assert_close(weighted_average_pool(shuffled, cls), weighted_average_pool(tokens, cls))


def test_class_token_belongs_to_its_own_frame():
    tokens, cls = random_grid()
    other = cls.clone()
    other[:, 5] += 1
    before, after = wap_weights(tokens, cls), wap_weights(tokens, other)
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 5], after[:, 5])


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_large_scale_selects_the_most_similar_token(similarity):
    tokens, cls = (tensor.double() for tensor in random_grid())
    pooled = weighted_average_pool(tokens, cls, similarity=similarity, scale=1e9)
    a, b = (tokens, cls) if similarity == "dot" else (F.normalize(tokens, dim=-1), F.normalize(cls, dim=-1))
    scores = (a * b[:, :, None, None]).sum(-1, keepdim=True)
    best = max_pool(scores, (4, 2, 2)).repeat_interleave(4, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(pooled, 16 * average_pool(tokens * (scores == best)))


def test_batch_of_two_equals_two_of_one():
    tokens, cls = random_grid(2)
    both = weighted_average_pool(tokens, cls)
    for b in range(2):
        torch.testing.assert_close(both[b : b + 1], weighted_average_pool(tokens[b : b + 1], cls[b : b + 1]))


@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16_tokens_are_weighted_in_float32(autocast):
    tokens, cls = random_grid(channels=256)
    tokens, cls = (10 * tokens).bfloat16(), cls.bfloat16()
    exact = weighted_average_pool(tokens.double(), cls.double(), scale=1.0)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        pooled = weighted_average_pool(tokens, cls, scale=1.0)
        weights = wap_weights(tokens, cls, scale=1.0)
    assert pooled.dtype == torch.bfloat16 and weights.dtype == torch.float32
    torch.testing.assert_close(pooled.double(), exact, rtol=2**-7, atol=1e-3)


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_gradients(similarity):
    tokens = torch.randn(1, 2, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    cls = torch.randn(1, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, c: weighted_average_pool(x, c, (2, 2, 1), similarity, 2.0), (tokens, cls))


def test_exports():
    class Pool(torch.nn.Module):
        def forward(self, tokens: Tensor, cls: Tensor) -> Tensor:
            return weighted_average_pool(tokens, cls)

    tokens, cls = random_grid()
    program = torch.export.export(Pool(), (tokens, cls))
    torch.testing.assert_close(program.module()(tokens, cls), weighted_average_pool(tokens, cls))


def test_wrong_arguments_are_refused_by_name():
    tokens, cls = random_grid()
    with pytest.raises(GeometryError, match=r"axis T .* 4 or 8"):
        weighted_average_pool(tokens[:, :7], cls[:, :7])
    with pytest.raises(GeometryError, match="class tokens of shape"):
        weighted_average_pool(tokens, cls[:, :7])
    with pytest.raises(ConfigError, match="similarity"):
        weighted_average_pool(tokens, cls, similarity="euclid")
