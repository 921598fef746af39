"""What records say together: paired sums over points and seeds, accuracies at a latency, and contradictions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reading import no_evidence, read_evidence

from liteframe.bench.frontier import weights_at
from liteframe.bench.paper.cells import CELLS, CTD, FURTHER_CELLS, LMA, PaperCell, find_cell
from liteframe.bench.paper.records import read_cell, record_path
from liteframe.errors import DataError
from report.accuracy_claims import at_budget, bend, slope
from report.at_time import gain_at_time
from report.evidence import Evidence, difference
from report.records import read_beyond
from report.wording import Reason, reason


def levels(method: str, frames: int, seed: int) -> float:
    return {"teacher": 0.5, "teacher+wap": 0.4}.get(method, 0.3) + frames / 400 + seed / 100


def test_sums_are_question_by_question(records: Path, fill: Callable[..., None]) -> None:
    fill(records, levels)
    evidence = read_evidence(records)
    assert evidence.records.open_cells == {}
    found = evidence.combine(difference("teacher", "teacher+wap", [8, 64]))
    by_hand = [
        np.mean([evidence.right["teacher", n][s] - evidence.right["teacher+wap", n][s] for n in (8, 64)])
        for s in (4, 5, 6)
    ]
    assert found is not None
    assert found.mean == pytest.approx(np.mean(by_hand)) and list(found.by_seed.values()) == pytest.approx(by_hand)
    # Questions are as hard for both methods, so the paired interval is far narrower than that of either accuracy.
    alone = evidence.accuracy("teacher", 8)
    assert alone is not None and found.high - found.low < 0.7 * (alone.high - alone.low)
    two = evidence.accuracy("teacher", 8, [4, 5])
    assert two is not None and two.seeds == [4, 5]
    assert evidence.frames_of("teacher") == [4, 8, 16, 32, 64]


def test_only_seeds_that_have_everything_count(records: Path, fill: Callable[..., None]) -> None:
    fill(records, levels, [find_cell("teacher")])
    fill(records, levels, [find_cell("pooling")], seeds=(5,))
    evidence = read_evidence(records)
    found = evidence.combine(difference("teacher", "teacher+wap", [8]))
    assert found is not None and found.seeds == [5]
    assert evidence.combine(difference("teacher", "teacher+tome", [8])) is None
    assert evidence.records.open_cells["pooling"] == [4, 6] and evidence.records.open_cells["budgets"] == [4, 5, 6]
    assert "teacher" not in evidence.records.open_cells


def test_a_record_of_other_settings_is_open_again(records: Path, fill: Callable[..., None]) -> None:
    cell = find_cell("teacher")
    fill(records, levels, [cell])
    path = record_path(records, cell, 4)
    record = json.loads(path.read_text())
    record["settings"]["arms"]["teacher"] = [8]
    path.write_text(json.dumps(record))
    assert read_cell(records, cell, 4) is None
    assert read_evidence(records).records.open_cells["teacher"] == [4]


def test_a_record_of_another_clipping_is_not_read_as_one_of_now(records: Path, fill: Callable[..., None]) -> None:
    then, now = find_cell("ctd-clipped"), find_cell("ctd-clipped-by-channel")
    fill(records, levels, [then])
    evidence = read_evidence(records)
    assert evidence.accuracy(then.name, 8) is not None and then.name not in evidence.records.open_cells
    fill(records.parent / "beyond", levels, [now])
    assert Evidence(read_beyond(records.parent), FURTHER_CELLS).accuracy(now.name, 8) is not None
    for seed in (4, 5, 6):
        path = record_path(records.parent / "beyond", now, seed)
        record = json.loads(path.read_text())
        assert record["settings"]["training"].pop("meaning")
        path.write_text(json.dumps(record))
    evidence = Evidence(read_beyond(records.parent), FURTHER_CELLS)
    assert evidence.accuracy(now.name, 8) is None and evidence.records.open_cells[now.name] == [4, 5, 6]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.pop("rows"), r"teacher\.json: .*missing.*'rows'; remove it"),
        (
            lambda record: record["rows"][0]["right"].pop(),
            r"teacher\.json: rows\[0\]: field 'right' is not a 0 or 1 for each of 160 questions; remove it",
        ),
        (lambda record: record["rows"][1]["right"].__setitem__(3, 2), r"rows\[1\]: field 'right' is not a 0 or 1"),
        (lambda record: record["rows"][1]["right"].__setitem__(3, True), r"rows\[1\]: field 'right' is not a 0 or 1"),
        (lambda record: record["rows"][0].pop("right"), r"rows\[0\]: .*missing.*'right'"),
        (lambda record: record["rows"][3].pop("tokens"), r"rows\[3\]: .*missing.*'tokens'"),
        (lambda record: record["rows"][2]["tokens"].pop("llm"), r"rows\[2\]: field 'tokens' has no 'llm'"),
        (lambda record: record["rows"].pop(), r"field 'rows' is not the cell's .* see \('teacher', 64\); remove it"),
        (lambda record: record["rows"].reverse(), "field 'rows' is not the cell's methods and frames, see their order"),
        (lambda record: record["rows"][0].update(arm="x"), r"field 'rows' is not the cell's .* see \('x', 8\)"),
        (lambda record: record.update(environment=None), "teacher.json: field 'environment' is NoneType; remove it"),
        (lambda record: record["environment"].pop("packages"), "field 'environment' has no 'packages'"),
        (lambda record: record.update(seconds="long"), "field 'seconds' is str"),
        (lambda record: record.update(stages=[{}]), "field 'stages' has a stage without 'name'"),
        (lambda record: record.update(seed=5), r"teacher\.json: is the record of another cell; remove it"),
        (
            lambda record: record.update(videos=[0] * 160),
            r"pooling\.json: its list of questions is not that of \S*teacher\.json; remove those",
        ),
        (
            lambda record: record["stages"][0].update(digest="dead"),
            r"pooling\.json: its stage ctd is not that of \S*teacher\.json; remove those",
        ),
        (lambda record: record.update(manifest="one"), r"its manifest is not that of \S*teacher\.json"),
    ],
)
def test_records_that_cannot_be_right_are_named(
    records: Path, fill: Callable[..., None], change: Callable[[Any], Any], message: str
) -> None:
    fill(records, levels, [find_cell("teacher"), find_cell("pooling")], seeds=(4,))
    path = record_path(records, find_cell("teacher"), 4)
    record, other = json.loads(path.read_text()), record_path(records, find_cell("pooling"), 4)
    change(record)
    path.write_text(json.dumps(record))
    other.write_text(json.dumps(json.loads(other.read_text()) | {"manifest": "another"}))
    with pytest.raises(DataError, match=message):
        read_evidence(records)


def test_a_students_own_stages_may_differ(records: Path, fill: Callable[..., None]) -> None:
    cell = find_cell("ctd-full")
    fill(records, levels, [cell, find_cell("teacher")], seeds=(4,))
    path = record_path(records, cell, 4)
    record = json.loads(path.read_text())
    record["stages"].append({"name": "ctd", "digest": "its own"})
    path.write_text(json.dumps(record))
    assert read_evidence(records).records.open_cells["ctd-full"] == [5]


def test_times_of_other_models_are_refused(
    records: Path, fill: Callable[..., None], report: Callable[..., None]
) -> None:
    fill(records, levels)
    report(records, 4, {("teacher", 8): 8.0, ("unknown", 8): 1.0})
    assert read_evidence(records).milliseconds("teacher", 8) == {4: 8.0}
    fill(records, lambda *point: levels(*point) + 0.02, [find_cell("teacher")])
    with pytest.raises(DataError, match=r"tiny-seed4\S*report\.json: teacher at 8 frames is right in .*teacher\.json"):
        read_evidence(records)


def test_the_seeds_that_are_wanted_are_those_of_the_cells() -> None:
    evidence = no_evidence()
    assert evidence.wanted([("teacher", 8)]) == [4, 5, 6]
    assert evidence.wanted([("liteframe-ctd", 8), ("ctd-full", 8)]) == [4, 5]
    assert evidence.wanted([("unknown", 8)]) == []


def test_a_point_that_is_measured_twice_is_refused(records: Path, fill: Callable[..., None]) -> None:
    cells = [find_cell("teacher"), PaperCell("twin", "group", (("teacher", (8,)),), (4,))]
    fill(records, levels, cells, seeds=(4,))
    with pytest.raises(DataError, match="teacher at 8 frames, seed 4: measured in two cells; remove one record"):
        read_evidence(records, cells)


def test_weights_at_a_time_give_what_the_sweep_interpolates(
    records: Path, fill: Callable[..., None], report: Callable[..., None]
) -> None:
    fill(records, levels, seeds=(4,))
    report(records, 4, {("teacher", n): 2.0 * n for n in (8, 16)} | {(LMA, n): 0.4 * n for n in (8, 32, 64)})
    evidence = read_evidence(records)
    times = {row.frames: row.model_ms for row in evidence.times[4] if row.arm == LMA}
    right = [evidence.right[LMA, frames][4].mean() for frames in sorted(times)]

    def interpolated(ms: float) -> float:
        return float(np.interp(np.log(ms), np.log(sorted(times.values())), right))

    for ms in (times[8], 5.0, times[32], 20.0, 99.0):
        weights, _ = weights_at(times, ms)
        assert sum(weights.values()) == pytest.approx(1)
        reached = sum(share * evidence.right[LMA, n][4].mean() for n, share in weights.items())
        assert reached == pytest.approx(interpolated(ms))
    assert weights_at(times, 1.0) == ({}, "faster than any row")
    for n, ms in ((8, 16.0), (16, 32.0)):
        found = evidence.combine(gain_at_time(evidence, LMA, "teacher", n))
        by_hand = interpolated(ms) - evidence.right["teacher", n][4].mean()
        assert found is not None and found.mean == pytest.approx(by_hand)
    assert evidence.combine(gain_at_time(evidence, LMA, "teacher+tome", 8)) is None, "it has no times"


def test_slope_is_that_of_a_fit_and_bend_of_a_line_is_none() -> None:
    x, y = np.log2([8, 16, 32, 64]), np.array([0.5, 0.62, 0.7, 0.74])
    weights = slope("a", [8, 16, 32, 64])
    assert sum(w * value for w, value in zip(weights.values(), y, strict=True)) == pytest.approx(np.polyfit(x, y, 1)[0])
    bent = bend("a", [8, 16, 32, 64])
    assert sum(bent["a", 2 ** int(n)] * value for n, value in zip(x, y, strict=True)) == pytest.approx(0.04 - 0.12)
    assert sum(bent["a", 2 ** int(n)] * (0.1 + 0.05 * n) for n in x) == pytest.approx(0)
    assert bend("a", [1, 2, 4]) == {("a", 4): 1.0, ("a", 2): -2.0, ("a", 1): 1.0}, "two doublings share the middle"


def test_ratios_are_compared_at_equal_tokens() -> None:
    assert at_budget("teacher+wap", "teacher", 64) == {("teacher+wap", 64): 1.0, ("teacher", 4): -1.0}
    assert at_budget("teacher+wap", "teacher", 512) is None, "no video has 512 frames"


def test_noise_is_the_largest_of_any_seed(records: Path, fill: Callable[..., None]) -> None:
    def apart(method: str, frames: int, seed: int) -> float:
        return 0.5 + {"ctd-again": {4: 0.1, 5: -0.2}, "lma-again": {4: 0.3, 5: 0.0}}.get(method, {}).get(seed, 0.0)

    fill(records, apart)
    evidence = read_evidence(records)
    assert evidence.training_noise(CTD) == pytest.approx(0.2, abs=0.01)
    assert evidence.training_noise(CTD, LMA) == pytest.approx(0.3, abs=0.01)
    record_path(records, find_cell("lma-again"), 5).unlink()
    assert read_evidence(records).training_noise(CTD, LMA) is None, "a seed is missing"
    assert no_evidence().training_noise(CTD) is None


def test_the_command_that_times_is_named(records: Path, fill: Callable[..., None], report: Callable[..., None]) -> None:
    fill(records, levels)
    report(records, 4, {("teacher", 8): 8.0})
    evidence = read_evidence(records)
    assert evidence.untimed_seeds("teacher") == [5, 6] and evidence.untimed_seeds("teacher+tome") == [4, 5, 6]
    assert reason(Reason("not timed", {"seeds": [5, 6]})) == "not timed: `make bench RUN=runs/tiny-seed5` (and 6)"
    for seed in (5, 6):
        report(records, seed, {("teacher", 8): 8.0})
    assert read_evidence(records).untimed_seeds("teacher") == []


def test_no_records_are_no_evidence(tmp_path: Path) -> None:
    evidence = read_evidence(tmp_path)
    assert not evidence.right
    assert set(evidence.records.open_cells) == {cell.name for cell in CELLS if not cell.retired}


def as_it_was(path: Path, method: str = "teacher+tome") -> None:
    """A record of before ToMe said its scope, which was the whole video."""
    record = json.loads(path.read_text())
    for row in record["rows"]:
        if row["arm"] == method:
            row["how"] = {"compressor": "tome", "ratio": 16, "heads": 4}
            row["right"] = [0] * len(row["right"])
    path.write_text(json.dumps(record))


def test_tome_of_older_records_is_that_over_the_whole_video(records: Path, fill: Callable[..., None]) -> None:
    cell = find_cell("merging")
    fill(records, levels, [cell])
    for seed in (4, 6):
        as_it_was(record_path(records, cell, seed))
    evidence = read_evidence(records)
    own, other = evidence.accuracy("teacher+tome", 8), evidence.accuracy("teacher+tome-video", 8)
    assert own is not None and other is not None
    assert own.seeds == [5] and own.mean > 0 and other.seeds == [4, 6] and other.mean == 0
    assert evidence.records.open_cells["merging"] == [4, 6]
    kept = evidence.accuracy("teacher+visionzip", 8)
    assert kept is not None and kept.seeds == [4, 5, 6]


def test_what_a_cell_measured_anew_counts_and_not_the_older_record(records: Path, fill: Callable[..., None]) -> None:
    merging, scopes = find_cell("merging"), find_cell("tome-scopes")
    fill(records, levels, [merging, scopes])
    as_it_was(record_path(records, merging, 4))
    found = read_evidence(records).accuracy("teacher+tome-video", 8, [4])
    assert found is not None and found.mean > 0
    twice = read_cell(records, merging, 4)
    assert twice is not None and twice.open_methods(merging) == (("teacher+tome", (8, 16, 32, 64)),)
