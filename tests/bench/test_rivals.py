"""The table of how rivals are built: a line for each that has official code, and every cell filled."""

from __future__ import annotations

from liteframe.bench.arm_names import method_name
from liteframe.bench.rivals import rivals_table
from liteframe.models.llm_pruning import PRUNERS
from liteframe.ops.compressors.registry import METHODS, ON_BLOCKS


def test_every_rival_says_its_scope_what_differs_and_what_that_costs() -> None:
    named = [name for name in METHODS if name not in ON_BLOCKS]
    header, rule, *lines = rivals_table(named).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[0] for row in rows] == [method_name(name) for name in (*named, *PRUNERS, "tome-teacher+wap")]
    assert all(len(row) == 4 and all(row) for row in rows)
    assert header.count("|") == rule.count("|") == 5
    assert rows[0][:2] == ["ToMe in clips", "clips of 4 frames"]
