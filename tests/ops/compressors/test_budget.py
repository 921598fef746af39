from __future__ import annotations

import random

import pytest

from liteframe.ops.compressors.budget import even, proportional


@pytest.mark.parametrize("parts", [1, 2, 7, 16])
def test_even_shares_sum_to_the_total_and_differ_by_one_at_most(parts):
    for total in range(60):
        shares = even(total, parts)
        assert sum(shares) == total
        assert max(shares) - min(shares) <= 1


def test_what_is_over_is_spread_over_the_row():
    assert even(2, 8) == [0, 0, 0, 1, 0, 0, 0, 1]


def test_shares_in_whole_proportion_are_those():
    assert proportional(12, [1, 2, 3], [99, 99, 99]) == [2, 4, 6]


def test_largest_remainders_get_what_is_over_and_ties_go_to_the_first():
    assert proportional(10, [1, 1, 1], [99] * 3) == [4, 3, 3]
    assert proportional(5, [10, 1, 3], [99] * 3) == [4, 0, 1]


def test_a_full_part_leaves_the_rest_to_the_others():
    assert proportional(10, [8, 1, 1], [2, 99, 99]) == [2, 4, 4]


def test_parts_without_weight_take_what_nobody_else_can():
    assert proportional(6, [1, 0, 0], [2, 9, 9]) == [2, 2, 2]
    assert proportional(3, [0, 0, 0], [9, 9, 9]) == [1, 1, 1]


def test_more_than_there_is_room_for_gives_all_room():
    assert proportional(100, [1, 2], [3, 4]) == [3, 4]


def test_any_shares_are_exact_and_never_above_the_room():
    numbers = random.Random(0)
    for _ in range(500):
        parts = numbers.randint(1, 9)
        weights = [numbers.randint(0, 5) for _ in range(parts)]
        room = [numbers.randint(0, 8) for _ in range(parts)]
        total = numbers.randint(0, 40)
        shares = proportional(total, weights, room)
        assert sum(shares) == min(total, sum(room))
        assert all(0 <= share <= space for share, space in zip(shares, room, strict=True))


def test_shares_without_a_limit_are_within_one_of_the_exact_proportion():
    numbers = random.Random(1)
    for _ in range(200):
        weights = [numbers.randint(1, 9) for _ in range(numbers.randint(1, 9))]
        total = numbers.randint(0, 90)
        for share, weight in zip(proportional(total, weights, [999] * len(weights)), weights, strict=True):
            assert abs(share - total * weight / sum(weights)) < 1
