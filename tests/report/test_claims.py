"""Every claim gives the verdict that was planted in made-up records, and none without a measurement."""

from __future__ import annotations

from collections.abc import Callable
from math import log2
from pathlib import Path
from typing import Any

import pytest
from reading import no_evidence, read_evidence

from liteframe.bench.methods import of_groups
from liteframe.bench.paper.cells import CONTROL, FRAMES, FURTHER_CELLS, LMA, LONGEST, find_cell
from liteframe.bench.paper.records import record_path
from liteframe.system.json_files import write_json
from report.accuracy_claims import AT_16X, REDUCING, counted
from report.claims import Claim, claims
from report.evidence import Evidence
from report.records import read_beyond
from report.verdicts import BEYOND, FAILS, HOLDS, MISSING, OPEN
from report.wording import by_seed, measured, why

CLAIMS, REDUCTIONS = claims(), of_groups(*REDUCING)
NOT_HERE = ("up to 512 frames", "single scores", "Tiles")
"""Of claims that no record of this setup can decide."""


def claim(words: str) -> Claim:
    (found,) = [claim for claim in CLAIMS if words in claim.text]
    return found


def as_the_paper(method: str, frames: int, seed: int) -> float:
    """Accuracies of a world in which all that the paper says is so."""
    grown, method = 0.08 * log2(frames / 4), method.removeprefix(CONTROL)
    if method in ("teacher", "lma-teacher"):
        return 0.34 + grown + 0.001 * seed
    method = {"ctd-again": "liteframe-ctd", "lma-again": "liteframe-lma"}.get(method, method)
    if method in ("liteframe-lma", "liteframe-ctd", "teacher+wap"):
        return {"liteframe-lma": 0.42, "liteframe-ctd": 0.38, "teacher+wap": 0.34}[method] + grown
    return {"teacher+wap-4x": 0.35, "teacher+wap-8x": 0.355}.get(method, 0.22) + grown


def times(scale: float = 1.0) -> dict[tuple[str, int], float]:
    """Model times in which the student needs a fraction of what others do."""
    found = {("teacher", n): 1.0 * n for n in FRAMES} | {(method, n): 0.9 * n for method in REDUCTIONS for n in FRAMES}
    return found | {
        (method, n): 0.05 * scale * n for method in ("liteframe-ctd", "liteframe-lma") for n in (*FRAMES, LONGEST)
    }


def gpu_record(shapes_record: Any, ms: Callable[[str, int], float], computed: bool = False, **more: Any) -> Any:
    """A record of the paper's host on a GPU: encoder and whole models at 64 frames, the student's at 512 too.

    Args:
        ms: of every stage, of a method and a frame count.
    """
    record = shapes_record(depthwise=10, full=14, attention=20, joint=30)
    record["environment"] = {**record["environment"], "device": "a GPU", "device_type": "cuda"}
    record["settings"]["host"] = "internvl3-8b"
    for suite, method, n in (
        *((suite, method, 64) for suite in ("encoder", "pipeline") for method in ("teacher", "teacher+wap", "student")),
        ("pipeline", "student", 512),
    ):
        prefill = 0.5 if method == "teacher+wap" else 1.0
        parts = {"encode": 2.0, "project": 0.01}
        parts |= {"prefill": prefill, "first_token": 0.001} if suite == "pipeline" else {}
        stages = {name: {"ms": part * ms(method, n), "computed": computed} for name, part in parts.items()}
        row = {"suite": suite, "arm": method, "frames": n, "batch": 1, "status": "ok", "stages": stages}
        record["rows"].append({**row, "computed": computed})
    return {**record, **more}


def quick(method: str, frames: int) -> float:
    return 13.0 * 64 if method != "student" else float(frames)


def evidence_of(
    records: Path, fill: Callable[..., None], report: Callable[..., None], accuracy: Any, scale: float = 1.0
) -> Evidence:
    fill(records, accuracy)
    for seed in (4, 5, 6):
        report(records, seed, times(scale))
    return read_evidence(records)


def beyond_of(records: Path, fill: Callable[..., None], accuracy: Any) -> Evidence:
    fill(records.parent / "beyond", accuracy, FURTHER_CELLS)
    return Evidence(read_beyond(records.parent), FURTHER_CELLS)


def test_without_records_nothing_is_measured() -> None:
    for each in CLAIMS:
        judged = each.judged(no_evidence())
        beyond = any(words in each.text for words in NOT_HERE)
        assert judged.verdict == (BEYOND if beyond else MISSING), each.text


def test_a_world_as_the_paper_says(records: Path, fill: Any, report: Any, shapes_record: Any) -> None:
    evidence_of(records, fill, report, as_the_paper)
    write_json(records.parent / "latency_gpu.json", gpu_record(shapes_record, quick))
    evidence, beyond = read_evidence(records), beyond_of(records, fill, as_the_paper)
    verdicts = {each.text: each.judged(evidence, beyond).verdict for each in CLAIMS}
    left = {text for text, verdict in verdicts.items() if verdict != HOLDS}
    assert left == {text for text in verdicts if any(words in text for words in NOT_HERE)}, verdicts
    assert {verdicts[text] for text in left} == {BEYOND}


def test_a_world_as_it_is_not(records: Path, fill: Any, report: Any, shapes_record: Any) -> None:
    def otherwise(method: str, frames: int, seed: int) -> float:
        return 1.0 - as_the_paper(method, frames, seed)

    evidence_of(records, fill, report, otherwise, scale=200.0)
    record = gpu_record(shapes_record, lambda method, n: float(n))
    record["rows"][0]["stages"]["encode"]["ms"] = 99.0
    write_json(records.parent / "latency_gpu.json", record)
    evidence, beyond = read_evidence(records), beyond_of(records, fill, otherwise)
    for words in (
        "plain pooling",
        "elaborate merging",
        "logarithm",
        "at every ratio",
        "highest ratio",
        "faster and cheaper",
        "joint) attention",
        "temporal attention and",
        "compressed tokens is better",
        "Adapting the language model",
        "8 times the frames the student is more accurate than the base VLM.",
        "8 times the frames the student is more accurate than the base VLM after",
        "reductions of 2025",
        "After the same training",
        "At its most frames",
        "35 % less",
        "5.3 times",
        "12.7 times",
        "student alone is more accurate",
        "also faster than all",
    ):
        assert claim(words).judged(evidence, beyond).verdict == FAILS, words


def test_a_tie_cannot_be_told(records: Path, fill: Any, report: Any) -> None:
    evidence = evidence_of(records, fill, report, lambda method, n, seed: 0.5)
    judged = claim("plain pooling").judged(evidence)
    assert judged.verdict == OPEN
    assert {why(finding) for finding in judged.parts} == {"the interval contains 0"}


def test_wap_has_to_be_better_on_both_base_vlms(records: Path, fill: Any) -> None:
    level = as_the_paper("teacher+max", 8, 4)
    fill(records, lambda method, n, seed: level if method.startswith(CONTROL) else as_the_paper(method, n, seed))
    judged = claim("plain pooling").judged(read_evidence(records))
    assert [finding.verdict for finding in judged.parts] == [HOLDS] * 3 + [OPEN] * 3
    assert judged.verdict == OPEN and "the other base VLM" in judged.deciding.what


def test_students_are_told_apart_only_beyond_the_noise(records: Path, fill: Any) -> None:
    def trained(method: str, frames: int, seed: int) -> float:
        return {"ctd-joint": 0.4, "lma-joint": 0.4, "ctd-again": 0.45, "lma-again": 0.75}.get(method, 0.5)

    fill(records, trained)
    after_ctd, after_lma = claim("joint) attention").judged(read_evidence(records)).parts
    assert after_ctd.verdict == HOLDS, "the two trainings are 0.05 apart, the mixers 0.1"
    assert after_lma.verdict == OPEN and why(after_lma).startswith("not larger than between two trainings of the same")
    record_path(records, find_cell("lma-again"), 4).unlink()
    assert claim("joint) attention").judged(read_evidence(records)).verdict == MISSING


def test_accuracy_that_saturates_is_not_logarithmic(records: Path, fill: Any) -> None:
    fill(records, lambda method, n, seed: 0.9 - 4.0 / n if method == "teacher" else 0.1 * log2(n))
    teacher, student = claim("logarithm").judged(read_evidence(records)).parts
    assert (teacher.verdict, why(teacher)) == (FAILS, "it saturates")
    assert student.verdict == HOLDS


def test_missing_parts_and_seeds_leave_a_claim_unmeasured(records: Path, fill: Any) -> None:
    fill(records, as_the_paper, [find_cell("pooling"), find_cell("merging")])
    judged = claim("elaborate merging").judged(read_evidence(records))
    assert judged.verdict == MISSING
    assert [finding.verdict for finding in judged.parts] == [HOLDS, HOLDS, MISSING, *[MISSING] * 3]
    record_path(records, find_cell("merging"), 6).unlink()
    judged = claim("elaborate merging").judged(read_evidence(records))
    assert [finding.verdict for finding in judged.parts] == [MISSING] * 6
    assert why(judged.parts[0]) == "seeds 4, 5 of 4, 5, 6" and "seed 5 +" in by_seed(judged.parts[0].measured)


def test_each_budget_and_each_latency_is_a_part() -> None:
    found = {len(claim(words).parts(no_evidence())) for words in ("at every ratio",)}
    assert found == {4 + 3 + 2}, "4x fills all four budgets, 8x three, 16x two"
    assert len(claim("highest ratio").parts(no_evidence())) == 2 + 2
    assert len(claim("above the post-hoc").parts(no_evidence())) == 3 * len(FRAMES)


def test_methods_that_the_paper_does_not_name_decide_nothing(records: Path, fill: Any, report: Any) -> None:
    def far_above(method: str, frames: int, seed: int) -> float:
        return 0.99 if method == "teacher+holitom" else as_the_paper(method, frames, seed)

    judged = claim("above the post-hoc").judged(evidence_of(records, fill, report, far_above))
    assert judged.verdict == HOLDS


def test_tome_inside_the_encoder_counts_before_the_base_vlm_that_has_it(records: Path, fill: Any) -> None:
    def inside(method: str, frames: int, seed: int) -> float:
        return 0.95 if method == "tome-teacher+wap" else as_the_paper(method, frames, seed)

    fill(records, inside)
    judged = claim("other reductions of Table 1").judged(read_evidence(records))
    (lost,) = [finding for finding in judged.parts if finding.verdict == FAILS]
    assert lost.what == "WAP less ToMe inside the encoder, then WAP" and judged.verdict == FAILS


def test_equal_times_hold_only_at_their_unfavourable_ends(records: Path, fill: Any, report: Any) -> None:
    """Accuracy is the same straight line on log2(frames) in both methods, the student's times half of the teacher's."""

    def line(method: str, frames: int, seed: int) -> float:
        return 0.1 * log2(frames)

    times = {(method, n): scale * n for method, scale in (("teacher", 1.0), (LMA, 0.5)) for n in FRAMES}
    fill(records, line)
    words = "At the time that the base VLM"
    for noise, verdict, gain in (
        (0.1, HOLDS, log2(2 * 0.9 / 1.1)),
        (0.3, HOLDS, log2(2 * 0.7 / 1.3)),
        (0.4, OPEN, None),
    ):
        for seed in (4, 5, 6):
            report(records, seed, times, noise)
        (finding,) = claim(words).judged(read_evidence(records)).parts
        usual, _, ends = measured(finding.measured).partition("; at the unfavourable ends of the times: ")
        assert finding.verdict == verdict
        assert float(usual.split()[0]) == pytest.approx(0.1, abs=0.006), "a doubling, in steps of one question"
        if gain is not None:
            assert float(ends.split()[0]) == pytest.approx(0.1 * gain, abs=0.006)
            assert finding.margin == pytest.approx(0.1 * gain, abs=0.006) and "times seed 4 +0." in by_seed(
                finding.measured
            )
        else:
            assert ends == "no frame count of student after LMA is that fast"
            assert why(finding) == "not at the unfavourable ends of the times"
    report(records, 5, times, None)
    (finding,) = claim(words).judged(read_evidence(records)).parts
    assert finding.verdict == MISSING and measured(finding.measured).startswith("+0.1")
    assert "the report of seed 5 has no samples of the times" in f"{measured(finding.measured)} {why(finding)}"


def test_one_seed_that_is_not_that_fast_is_open(records: Path, fill: Any, report: Any) -> None:
    fill(records, as_the_paper)
    for seed in (4, 5, 6):
        report(records, seed, times(1.0 if seed != 5 else 200.0))
    (finding,) = claim("At the time that the base VLM").judged(read_evidence(records)).parts
    assert (finding.verdict, why(finding)) == (OPEN, "no frame count of student after LMA is that fast at seed 5")


def test_all_reductions_at_the_budget_count_once_and_no_others(records: Path, fill: Any, report: Any) -> None:
    evidence = evidence_of(records, fill, report, as_the_paper)
    findings = claim("student alone is more accurate").judged(evidence).parts
    deciding = [finding.what for finding in findings]
    assert len(deciding) == len(set(deciding)) == len(set(counted(*AT_16X)) - {"tome4-teacher+wap"})
    assert sum(what.startswith("its own target") for what in deciding) == 1
    assert not any(name in what for what in deciding for name in ("PruMerge+", "to a quarter", "DyCoke"))


def test_what_was_not_timed_says_how_to(records: Path, fill: Any, report: Any) -> None:
    fill(records, as_the_paper)
    command = "not timed: `make bench RUN=runs/tiny-seed4` (and 5, 6)"
    judged = claim("above the post-hoc methods").judged(read_evidence(records))
    assert judged.verdict == MISSING and {why(finding) for finding in judged.parts} == {command}
    report(records, 5, times())
    (finding,) = claim("At the time that the base VLM").judged(read_evidence(records)).parts
    assert finding.verdict == MISSING and measured(finding.measured)
    assert why(finding) == "seeds 5 of 4, 5, 6; not timed: `make bench RUN=runs/tiny-seed4` (and 6)"
    faster = claim("also faster").judged(read_evidence(records)).parts
    assert {finding.verdict for finding in faster} == {MISSING} and "18.0 at 8 frames" in measured(faster[0].measured)


def test_an_method_that_is_never_as_fast_cannot_be_told(records: Path, fill: Any, report: Any) -> None:
    evidence = evidence_of(records, fill, report, as_the_paper, scale=200.0)
    (finding,) = claim("At the time that the base VLM").judged(evidence).parts
    assert (finding.verdict, why(finding)) == (OPEN, "no frame count of student after LMA is that fast")


def test_the_share_and_its_shift_are_two_parts(records: Path, fill: Any, report: Any) -> None:
    evidence = evidence_of(records, fill, report, as_the_paper)
    shift, half, *_ = claim("takes the time").judged(evidence).parts
    assert shift.verdict == half.verdict == HOLDS
    assert "+30% at 8 frames" in measured(shift.measured) and "80% at 8 frames" in measured(half.measured)


WORDS = (("35 % less", "0."), ("5.3 times", "13.0 times at 64 frames"), ("12.7 times", "13.0 times at 64 frames"))


@pytest.mark.parametrize(("words", "number"), WORDS)
def test_only_whole_records_of_the_papers_base_vlm_on_a_gpu_decide(
    records: Path, shapes_record: Any, words: str, number: str
) -> None:
    path = records.parent / "latency_gpu.json"
    write_json(path, gpu_record(shapes_record, quick))
    judged = claim(words).judged(read_evidence(records))
    assert judged.verdict == HOLDS and number in measured(judged.parts[0].measured)
    write_json(path, gpu_record(shapes_record, quick, computed=True))
    judged = claim(words).judged(read_evidence(records))
    assert judged.verdict == OPEN and "computed" in why(judged.parts[0])
    write_json(path, gpu_record(shapes_record, quick, complete=False))
    assert claim(words).judged(read_evidence(records)).verdict == MISSING
    small = gpu_record(shapes_record, quick)
    small["settings"]["host"] = "internvl3-1b"
    write_json(path, small)
    judged = claim(words).judged(read_evidence(records))
    assert judged.verdict == MISSING and "make bench-gpu" in why(judged.parts[0])


def test_sizes_are_counted_by_any_record(records: Path, shapes_record: Any) -> None:
    write_json(records.parent / "latency_cpu.json", shapes_record(depthwise=10))
    assert claim("87 M").judged(read_evidence(records)).verdict == HOLDS


def test_latencies_of_toy_sizes_are_not_the_papers(records: Path, shapes_record: Any) -> None:
    record = shapes_record(depthwise=10)
    record["settings"]["size"] = "tiny"
    write_json(records.parent / "latency_cpu.json", record)
    assert read_evidence(records).records.latency == {}
