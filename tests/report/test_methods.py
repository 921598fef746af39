"""The registry of methods has all that is measured, told apart; everything on the page has a cell."""

from __future__ import annotations

from matplotlib.markers import MarkerStyle

from liteframe.bench.encoders import ENCODERS
from liteframe.bench.methods import in_order, label, method, methods, of_groups
from liteframe.bench.paper.cells import BUDGETS, CELLS, CTD, FRAMES, FURTHER_CELLS, LMA, MIXERS, RATIOS, frames_at
from liteframe.bench.run_methods import RUN_METHODS, VARIANT_METHODS
from report.accuracy_claims import REDUCING, counted
from report.paper_tables import BEYOND_16X
from report.students import labels, method_of
from report.time_claims import MIXER_NAMES
from report.wording import words

GROUPS = {
    *("teacher", "pool", "wap", "named", "other", "own budget", "inside the encoder", "inside the LLM"),
    "before and inside the LLM",
    *("later", "setting", "ratio", "student", "encoder", "mixer"),
}


def test_all_that_is_measured_has_an_entry_told_apart() -> None:
    encoders = {name for name, each in ENCODERS.items() if each.group != "mixer"} | set(MIXER_NAMES.values())
    assert {*RUN_METHODS, *VARIANT_METHODS, *encoders, *RATIOS} <= methods().keys()
    assert len({each.label for each in methods().values()}) == len(methods())
    drawn = {name: (each.colour, each.marker) for name, each in methods().items() if name != "student"}
    assert len(set(drawn.values())) == len(drawn)
    for each in methods().values():
        assert each.group in GROUPS and MarkerStyle(each.marker) and each.colour.startswith("#")
        assert each.same_as is None or each.same_as in methods()


def test_later_rivals_and_methods_in_two_halves_stand_past_the_paper_and_in_no_claim() -> None:
    halves = {name for name in RUN_METHODS if name.endswith("-llm")}
    assert halves == {*of_groups("before and inside the LLM")}
    shown = {name for students in words()["beyond"].values() for name in students}
    assert {*halves, *of_groups("later")} <= shown
    assert not {*halves, *of_groups("later")} & {*of_groups(*REDUCING), *BEYOND_16X}


def test_an_unknown_method_has_its_own_name_and_comes_last() -> None:
    assert label("brand-new") == "brand-new" and method("brand-new").group == "unnamed"
    assert in_order(["brand-new", CTD, "teacher", CTD]) == ["teacher", CTD, "brand-new"]


def test_everything_on_the_page_has_a_cell() -> None:
    measured = {
        (method, frames) for cell in (*CELLS, *FURTHER_CELLS) for method, counts in cell.methods for frames in counts
    }
    wanted = {"teacher", *of_groups(*REDUCING), CTD, LMA, *BEYOND_16X}
    wanted |= {name for of in ("ablations", "beyond") for students in words()[of].values() for name in students}
    wanted |= {method_of(shape, CTD) for shape in labels()}
    wanted |= {f"{stage}-{mixer}" for stage in ("ctd", "lma") for mixer in MIXERS}
    assert {(name, frames) for name in wanted for frames in FRAMES} <= measured
    filled = {(name, n) for name, ratio in RATIOS.items() for budget in BUDGETS if (n := frames_at(budget, ratio))}
    assert filled <= measured
    assert set(words()["mixers"]) == set(MIXER_NAMES) == {"depthwise", *MIXERS}
    assert "teacher+prumerge+" not in counted(*REDUCING)
