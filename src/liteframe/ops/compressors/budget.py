"""Exact shares of a token budget: what is handed out always sums to what there was."""

from __future__ import annotations

from collections.abc import Sequence


def even(total: int, parts: int) -> list[int]:
    """`total` over `parts` as evenly as whole numbers allow, the larger ones spread over the row, not at its start."""
    return [(part + 1) * total // parts - part * total // parts for part in range(parts)]


def proportional(total: int, weights: Sequence[int], room: Sequence[int]) -> list[int]:
    """`total` in proportion to whole `weights`, none above its `room`: largest remainders, ties to the first.

    What does not fit a full part is shared again among the others, evenly where all their weights are zero. Gives the
    sum of all room where `total` is more.
    """
    given = [0] * len(room)
    left = min(total, sum(room))
    while left:
        parts = [part for part in range(len(room)) if given[part] < room[part]]
        weight = {part: weights[part] for part in parts}
        if not any(weight.values()):
            weight = dict.fromkeys(parts, 1)
        whole = sum(weight.values())
        floors = {part: left * weight[part] // whole for part in parts}
        full = [part for part in parts if floors[part] > room[part] - given[part]]
        if full:
            # These first: what they cannot take changes the share of all others.
            for part in full:
                left -= room[part] - given[part]
                given[part] = room[part]
            continue
        for part in parts:
            given[part] += floors[part]
        rest = left - sum(floors.values())
        remainder = {part: left * weight[part] % whole for part in parts if given[part] < room[part]}
        lucky = sorted(remainder, key=lambda part: (-remainder[part], part))[:rest]
        for part in lucky:
            given[part] += 1
        left = rest - len(lucky)
    return given
