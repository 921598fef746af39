"""Slow and obvious pieces that the references of the compressors share: Python numbers, one token at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from liteframe.ops.compressors.features import Compressed, Features


def make_features(frames=4, rows=3, columns=4, channels=5, keys=6, dtype=torch.float64, seed=0) -> Features:
    """Everything that a method may ask for, at random; class tokens are as wide as the tokens."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64).to(dtype)

    attention = torch.softmax(2 * normal(frames, rows * columns).double(), dim=-1).reshape(frames, rows, columns)
    return Features(
        normal(frames, rows, columns, channels),
        normal(frames, channels),
        normal(frames, rows, columns, keys),
        attention.to(dtype),
    )


def slow_scene(frames=8, rows=3, columns=4, channels=6, change=0.4, seed=0) -> Features:
    """A video in which some places hold still for a while: each frame redraws a few tokens of the one before."""
    features = make_features(frames, rows, columns, channels, seed=seed)
    tokens = features.tokens_THWC.clone()
    random = torch.Generator().manual_seed(seed + 1)
    for frame in range(1, frames):
        stays = torch.rand(rows, columns, generator=random) > change
        tokens[frame][stays] = tokens[frame - 1][stays] + 0.05 * tokens[frame][stays]
    return Features(tokens, features.cls_TC, features.keys_THWK, features.cls_attention_THW)


def vectors(tensor: Tensor) -> list[list[float]]:
    """The last axis as lists of numbers, all others flattened."""
    return tensor.flatten(0, -2).tolist()


def cosine(left: list[float], right: list[float]) -> float:
    dot = sum(x * y for x, y in zip(left, right, strict=True))
    return dot / (math.hypot(*left) * math.hypot(*right))


def mean(points: list[list[float]]) -> list[float]:
    return [sum(values) / len(points) for values in zip(*points, strict=True)]


def best(scores: dict[int, float], count: int) -> list[int]:
    """The keys of the highest scores, the lower key first of equals."""
    return sorted(scores, key=lambda key: (-scores[key], key))[:count]


def peaks(points: list[list[float]], neighbours: int) -> list[int]:
    """All points, from the best centre of DPC-KNN to the worst."""
    count, width = len(points), len(points[0])
    apart = [[math.dist(a, b) / math.sqrt(width) for b in points] for a in points]
    near = min(neighbours, count)
    density = [math.exp(-sum(d * d for d in sorted(row)[:near]) / near) for row in apart]
    scores = {}
    for i in range(count):
        denser = [j for j in range(count) if density[j] > density[i] or (density[j] == density[i] and j < i)]
        scores[i] = density[i] * (min(apart[i][j] for j in denser) if denser else max(map(max, apart)))
    return best(scores, count)


def clusters(points: list[list[float]], centres: list[int]) -> list[list[int]]:
    """The points of each centre, itself among them, in the order of the centres."""
    members: list[list[int]] = [[] for _ in centres]
    for i, point in enumerate(points):
        if i in centres:
            members[centres.index(i)].append(i)
        else:
            nearest = min(range(len(centres)), key=lambda c: (math.dist(point, points[centres[c]]), c))
            members[nearest].append(i)
    return members


def assert_same(result: Compressed, expected: dict[int, list[float]]) -> None:
    """The result has these tokens at these places, in the order of the places."""
    assert result.places_M.tolist() == sorted(expected)
    tokens = torch.tensor([expected[place] for place in sorted(expected)], dtype=result.tokens_MC.dtype)
    torch.testing.assert_close(result.tokens_MC, tokens)
    assert result.given == len(expected)
