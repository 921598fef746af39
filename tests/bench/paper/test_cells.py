"""The table of cells is whole: no point twice, nothing on the page without a cell, budgets filled exactly."""

from __future__ import annotations

from collections import Counter

import pytest

from liteframe.bench.paper.cells import (
    BUDGETS,
    CELLS,
    CONTROL,
    DENSE_TOKENS,
    LONGEST,
    MEANINGS,
    MIXERS,
    RATIOS,
    STORES,
    find_cell,
    frames_at,
    plan,
)
from liteframe.bench.paper.methods import OTHER_RATIOS
from liteframe.bench.run_methods import RUN_METHODS, VARIANT_METHODS
from liteframe.errors import ConfigError


def points() -> list[tuple[str, int]]:
    return [(method, frames) for cell in CELLS for method, counts in cell.methods for frames in counts]


def test_no_point_is_measured_twice_and_no_name_is_used_twice() -> None:
    assert [point for point, count in Counter(points()).items() if count > 1] == []
    assert len({cell.name for cell in CELLS}) == len(CELLS)


def test_cells_stand_on_what_comes_before_them() -> None:
    order = {(cell.name, seed): place for place, (cell, seed) in enumerate(plan())}
    for cell in CELLS:
        if cell.training is None or cell.training.base_vlm is not None:
            known = (
                {*RUN_METHODS, *VARIANT_METHODS, *OTHER_RATIOS}
                if cell.training is None
                else {f"{CONTROL}{name}" for name in RUN_METHODS}
            )
            assert all(method in known for method, _ in cell.methods)
            continue
        assert all(method.split("+")[0] == cell.name for method, _ in cell.methods)
        assert cell.training.store is None or cell.training.store in STORES
        assert cell.training.ctd is not None or cell.training.lma is not None
        if cell.training.base is not None:
            base = find_cell(cell.training.base)
            assert base.training is not None and base.training.ctd is not None
            assert all(order[base.name, seed] < order[cell.name, seed] for seed in cell.seeds)


@pytest.mark.parametrize("ratio", RATIOS.values())
def test_budgets_are_filled_exactly(ratio: int) -> None:
    for budget in range(1, 600):
        frames = frames_at(budget, ratio)
        exact = [count for count in range(1, LONGEST + 1) if count * DENSE_TOKENS == budget * ratio]
        assert ([frames] if frames else []) == exact


def test_every_ratio_shares_a_budget_with_every_other() -> None:
    filled = {ratio: {budget for budget in BUDGETS if frames_at(budget, ratio)} for ratio in RATIOS.values()}
    assert all(len(one & other) >= 2 for one in filled.values() for other in filled.values())


def test_cheap_cells_come_first_at_all_seeds() -> None:
    order = plan()
    assert [cell.phase for cell, _ in order] == sorted(cell.phase for cell, _ in order)
    mixers = [(cell.name, seed) for cell, seed in order if cell.group == "mixers"]
    assert [seed for _, seed in mixers] == [4] * (len(mixers) // 2) + [5] * (len(mixers) // 2)
    of_seed_4 = [cell.group for cell, seed in order if cell.phase == 1 and seed == 4]
    assert of_seed_4[-3:] == ["noise", "noise", "control"] and not {"noise", "control"} & set(of_seed_4[:-3])
    assert {seed for cell, seed in order if cell.group == "table1"} == {4, 5, 6}


def test_parts_of_the_plan() -> None:
    assert {cell.name for cell, _ in plan(["figure3"])} == {"budgets"}
    assert plan(["lma-frozen"], [5]) == [(find_cell("lma-frozen"), 5)]
    assert len(plan(["mixers", "figure3"])) == len(MIXERS) * 2 * 2 + 3
    with pytest.raises(ConfigError, match=r"--only table9: no such group or cell; groups are table1, .*; --list"):
        plan(["table9"])
    with pytest.raises(ConfigError, match=r"--seeds 6: these cells have the seeds 4, 5"):
        plan(["mixers"], [6])
    with pytest.raises(ConfigError, match="no cell 'x'; there are teacher"):
        find_cell("x")


def test_a_changed_setting_is_seen_in_the_description() -> None:
    one, other = find_cell("ctd-8x"), find_cell("ctd-8x-clip8")
    assert one.describe()["training"]["store"] == other.describe()["training"]["store"] == ["--model.block=[2,2,2]"]
    assert one.describe() != other.describe()
    assert find_cell("teacher").describe() == {"arms": {"teacher": [8, 16, 32, 64]}}


def test_a_setting_that_does_something_else_now_is_another_description(monkeypatch: pytest.MonkeyPatch) -> None:
    cell, retired = find_cell("ctd-clipped-by-channel"), find_cell("ctd-clipped")
    settings = cell.describe()["training"]
    assert settings.pop("meaning") == MEANINGS
    assert retired.describe()["training"] == settings, "of before"
    before = find_cell("ctd-8x").describe()
    monkeypatch.setitem(MEANINGS, "--model.block", "strides of the student's own")
    assert find_cell("ctd-8x").describe() != before, "of its store, too"
    assert "meaning" not in find_cell("ctd-late").describe()["training"]


def test_what_the_code_no_longer_does_is_not_measured_again() -> None:
    retired = [cell for cell in CELLS if cell.retired]
    assert [cell.name for cell in retired] == ["ctd-clipped"]
    assert not {cell.name for cell in retired} & {cell.name for cell, _ in plan()}
    assert set(CELLS) == {cell for cell, _ in plan(retired=True)}
    with pytest.raises(ConfigError, match="--only ctd-clipped: no such"):
        plan(["ctd-clipped"])
