"""Every claim gives the verdict that was planted in made-up records, and none without a measurement."""

from __future__ import annotations

from collections.abc import Callable
from math import log2
from pathlib import Path
from typing import Any

import pytest

from liteframe.bench.records import write_json
from liteframe.paper.cells import FRAMES, LONGEST, find_cell
from liteframe.paper.claims import CLAIMS, Claim
from liteframe.paper.evidence import Evidence, read_evidence
from liteframe.paper.names import POST_HOC
from liteframe.paper.verdicts import FAILS, HOLDS, OPEN

BEYOND = ("up to 512 frames", "single scores", "Tiles")
"""Of claims that no record of this ground can decide."""


def claim(words: str) -> Claim:
    (found,) = [claim for claim in CLAIMS if words in claim.text]
    return found


def as_the_paper(arm: str, frames: int, seed: int) -> float:
    """Accuracies of a world in which all that the paper says is so."""
    grown = 0.08 * log2(frames / 4)
    if arm == "teacher":
        return 0.34 + grown + 0.001 * seed
    if arm in ("liteframe-lma", "liteframe-ctd", "teacher+wap"):
        return {"liteframe-lma": 0.42, "liteframe-ctd": 0.38, "teacher+wap": 0.34}[arm] + grown
    return {"teacher+wap-4x": 0.35, "teacher+wap-8x": 0.355}.get(arm, 0.22) + grown


def times(scale: float = 1.0) -> dict[tuple[str, int], float]:
    """Model times in which the student needs a fraction of what others do."""
    found = {("teacher", n): 1.0 * n for n in FRAMES} | {(arm, n): 0.9 * n for arm in POST_HOC for n in FRAMES}
    return found | {
        (arm, n): 0.05 * scale * n for arm in ("liteframe-ctd", "liteframe-lma") for n in (*FRAMES, LONGEST)
    }


def evidence_of(
    records: Path, fill: Callable[..., None], report: Callable[..., None], accuracy: Any, scale: float = 1.0
) -> Evidence:
    fill(records, accuracy)
    for seed in (4, 5, 6):
        report(records, seed, times(scale))
    return read_evidence(records)


def test_without_records_nothing_can_be_told() -> None:
    for each in CLAIMS:
        judged = each.judged(Evidence())
        assert judged.verdict == OPEN and all(finding.why for finding in judged.findings)


def test_a_world_as_the_paper_says(records: Path, fill: Any, report: Any, shapes_record: Any) -> None:
    evidence = evidence_of(records, fill, report, as_the_paper)
    write_json(records.parent / "latency_cpu.json", shapes_record(depthwise=10, full=14, attention=20, joint=30))
    evidence = read_evidence(records)
    verdicts = {each.text: each.judged(evidence).verdict for each in CLAIMS}
    open_ones = {text for text, verdict in verdicts.items() if verdict == OPEN}
    assert FAILS not in verdicts.values(), verdicts
    # The record of this test has no whole model and no 64 frames.
    left = (*BEYOND, "takes the time", "35 % less", "5.3 times", "12.7 times")
    assert open_ones == {text for text in verdicts if any(words in text for words in left)}


def test_a_world_as_it_is_not(records: Path, fill: Any, report: Any, shapes_record: Any) -> None:
    evidence_of(records, fill, report, lambda arm, n, seed: 1.0 - as_the_paper(arm, n, seed), scale=200.0)
    write_json(records.parent / "latency_cpu.json", shapes_record(depthwise=40, full=14, attention=20, joint=30))
    evidence = read_evidence(records)
    for words in (
        "plain pooling",
        "elaborate merging",
        "logarithm",
        "at every ratio",
        "highest ratio",
        "faster and cheaper",
        "most accurate of them",
        "compressed tokens is better",
        "Adapting the language model",
        "8 times the frames the student is",
        "At its most frames",
        "35 % less",
        "student alone is more accurate and",
    ):
        assert claim(words).judged(evidence).verdict == FAILS, words


def test_a_tie_cannot_be_told(records: Path, fill: Any, report: Any) -> None:
    evidence = evidence_of(records, fill, report, lambda arm, n, seed: 0.5)
    judged = claim("plain pooling").judged(evidence)
    assert judged.verdict == OPEN
    assert {finding.why for finding in judged.findings} == {"the interval contains 0"}


def test_missing_parts_keep_a_claim_open(records: Path, fill: Any) -> None:
    fill(records, as_the_paper, [find_cell("pooling"), find_cell("merging")])
    judged = claim("elaborate merging").judged(read_evidence(records))
    assert judged.verdict == OPEN
    assert [(finding.verdict, finding.why) for finding in judged.findings] == [
        (HOLDS, ""),
        (HOLDS, ""),
        (OPEN, "not run yet"),
    ]
    timed = claim("above the post-hoc methods").judged(read_evidence(records))
    assert {finding.why for finding in timed.findings} == {"not run yet"}


def test_what_was_not_timed_is_said(records: Path, fill: Any) -> None:
    fill(records, as_the_paper)
    judged = claim("above the post-hoc methods").judged(read_evidence(records))
    assert {finding.why for finding in judged.findings} == {"the sweep has not timed it"}


@pytest.mark.parametrize(("computed", "verdict"), [(False, HOLDS), (True, OPEN)])
def test_computed_latencies_never_decide(records: Path, shapes_record: Any, computed: bool, verdict: str) -> None:
    record = shapes_record(depthwise=10)
    for arm, ms in (("teacher", 600.0), ("student", 100.0)):
        stages = {name: {"ms": ms / 2, "computed": computed} for name in ("encode", "project")}
        row = {"suite": "encoder", "arm": arm, "frames": 64, "batch": 1, "status": "ok", "stages": stages}
        record["rows"].append({**row, "computed": computed})
    write_json(records.parent / "latency_cpu.json", record)
    judged = claim("5.3 times").judged(read_evidence(records))
    assert judged.verdict == verdict and "6.0 times at 64 frames" in judged.findings[0].measured
    assert claim("87 M").judged(read_evidence(records)).verdict == HOLDS


def test_latencies_of_toy_sizes_are_not_the_papers(records: Path, shapes_record: Any) -> None:
    record = shapes_record(depthwise=10)
    record["settings"]["size"] = "tiny"
    write_json(records.parent / "latency_cpu.json", record)
    assert read_evidence(records).shapes == {}
