from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from liteframe.errors import GeometryError
from liteframe.ops.pooling import average_pool, max_pool, subsample

BLOCKS = [(4, 2, 2), (1, 2, 2), (2, 1, 3), (1, 1, 1), (4, 4, 6)]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def loop_pool(tokens: Tensor, block: tuple[int, int, int], reduce) -> Tensor:
    """Every block by itself, its tokens in a list."""
    batch, frames, rows, columns, channels = tokens.shape
    t, h, w = block
    out = torch.zeros(batch, frames // t, rows // h, columns // w, channels, dtype=tokens.dtype)
    for b, i, j, k in itertools.product(*map(range, out.shape[:4])):
        members = [
            tokens[b, i * t + di, j * h + dj, k * w + dk]
            for di, dj, dk in itertools.product(range(t), range(h), range(w))
        ]
        out[b, i, j, k] = reduce(torch.stack(members))
    return out


REFERENCES = {
    average_pool: lambda members: members.mean(0),
    max_pool: lambda members: members.max(0).values,
    subsample: lambda members: members[0],
}


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("pool", REFERENCES, ids=lambda pool: pool.__name__)
def test_pool_equals_loops(pool, block):
    tokens = torch.randn(2, 4, 4, 6, 5)
    torch.testing.assert_close(pool(tokens, block), loop_pool(tokens, block, REFERENCES[pool]))


@pytest.mark.parametrize("pool", REFERENCES, ids=lambda pool: pool.__name__)
def test_pool_keeps_dtype_takes_strided_input_and_has_gradients(pool):
    tokens = torch.randn(1, 4, 3, 4, 4, dtype=torch.float64).transpose(2, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: pool(x, (4, 2, 1)), tokens)
    assert pool(tokens.bfloat16(), (4, 2, 1)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("shape", "block", "words"),
    [
        ((1, 6, 4, 4, 2), (4, 2, 2), ["axis T", "size 6", "4 or 8"]),
        ((1, 4, 5, 4, 2), (4, 2, 2), ["axis H", "size 5", "4 or 6"]),
        ((1, 4, 4, 1, 2), (4, 2, 2), ["axis W", "size 1", "legal: 2"]),
        ((1, 0, 4, 4, 2), (4, 2, 2), ["axis T", "size 0", "legal: 4"]),
        ((4, 4, 4, 2), (4, 2, 2), ["(B, T, H, W, C)", "(4, 4, 4, 2)"]),
        ((1, 4, 4, 4, 2), (0, 2, 2), ["block", "(0, 2, 2)"]),
    ],
)
@pytest.mark.parametrize("pool", REFERENCES, ids=lambda pool: pool.__name__)
def test_wrong_grid_is_refused_by_name(pool, shape, block, words):
    with pytest.raises(GeometryError) as caught:
        pool(torch.zeros(shape), block)
    assert all(word in str(caught.value) for word in words)
