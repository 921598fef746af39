"""Verdicts, numbers and intervals are those that the code before this one made from the committed records.

`before.json` holds what that code made, with a fingerprint of the rows of each method that it made it from. What rests
on rows that were measured anew since is left out, and so are parts that decided nothing, which are gone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from liteframe.bench.methods import label
from liteframe.bench.paper.cells import AGAIN, CTD, LMA, TWO_SEEDS
from report import real_shapes, tiny_world
from report.claims import judged_claims
from report.evidence import Estimate, Evidence
from report.real_shapes import marked, stage_marks
from report.records import ALL, Records, read_records
from report.wording import by_seed, measured, milliseconds, why, words

HERE = Path(__file__).resolve().parent
RECORDS = HERE.parents[1] / "benchmarks" / "records"
BEFORE: dict[str, Any] = json.loads((HERE / "before.json").read_text(encoding="utf-8"))
NEW_WORDS = {"the other host": "the other base VLM", "host internvl3-1b": "base VLM internvl3-1b"}
REWORDED = ("this ground has not", "of this ground", "machine or host")
"""Reasons that say the same in other words now."""
Unchanged = Callable[[Iterable[str]], bool]


@pytest.fixture(scope="module")
def records() -> Records:
    return read_records(RECORDS)


@pytest.fixture(scope="module")
def evidence(records: Records) -> Evidence:
    return Evidence(records)


@pytest.fixture(scope="module")
def unchanged(records: Records) -> Unchanged:
    """Whether nothing was measured of some methods since; "latency" stands for the records at real shapes."""
    now, then = fingerprints(records), BEFORE["fingerprints"]
    return lambda names: all(now.get(name) == then.get(name) for name in names)


def fingerprints(records: Records) -> dict[str, str]:
    """Of the answers and times of each method, and of the records of latency."""
    found = {}
    table = records.table[records.table.type == ALL].sort_values(["kind", "frames", "seed", "renamed"])
    for (base, name), rows in table.groupby(["base", "method"]):
        digest = sha256()
        for row in rows.to_dict("records"):
            times = f"{row['accuracy']} {row['model_ms']} {row['total_ms']}".encode()
            digest.update(f"{row['kind']} {row['frames']} {row['seed']} ".encode())
            digest.update(row["right"].tobytes() if row["kind"] == "answers" else times)
        found[f"{base}{name}"] = digest.hexdigest()[:12]
    latency = b"".join(path.read_bytes() for path in sorted(RECORDS.glob("latency_*.json")))
    return {**found, "latency": sha256(latency).hexdigest()[:12]}


def close(found: Any, before: Any) -> bool:
    """Equal to nine decimals, or to so many figures, through lists and dicts."""
    if isinstance(before, dict):
        return found.keys() == before.keys() and all(close(found[key], before[key]) for key in before)
    if isinstance(before, list):
        return len(found) == len(before) and all(close(*pair) for pair in zip(found, before, strict=True))
    if before is None or found is None:
        return found is None and before is None
    return bool(found == before or found == pytest.approx(before, abs=2e-9, rel=1e-6))


def numbers(found: Estimate | None) -> list[Any] | None:
    if found is None:
        return None
    return [found.mean, found.low, found.high, {str(seed): value for seed, value in found.by_seed.items()}]


def test_every_part_of_every_claim(evidence: Evidence, unchanged: Unchanged) -> None:
    compared = whole = 0
    of_the_paper = [pair for pair in judged_claims(evidence) if not any("past" in row for row in pair[0].rows)]
    for (claim, verdict), before in zip(of_the_paper, BEFORE["claims"], strict=True):
        needs = [part.methods or ("latency",) for part in verdict.parts]
        deciding = before["parts"][before["decided_by"]]
        before["parts"] = [part for part in before["parts"] if part[1] != "context"]
        if len(needs) != len(before["parts"]):
            assert not unchanged(["latency"]), claim.text
            continue
        for part, names, (what, was, told, seeds, reason, margin) in zip(
            verdict.parts, needs, before["parts"], strict=True
        ):
            if not unchanged(names):
                continue
            for old, new in NEW_WORDS.items():
                what = what.replace(old, new)
            assert (part.what, part.verdict) == (what, was)
            assert (measured(part.measured), by_seed(part.measured)) == (told, seeds), part.what
            assert any(text in reason for text in REWORDED) or why(part) == reason, part.what
            assert close(part.margin, margin), part.what
            compared += 1
        if all(map(unchanged, needs)):
            decided = before["parts"][list(verdict.parts).index(verdict.deciding)]
            assert (verdict.verdict, decided) == (before["verdict"], deciding), claim.text
            whole += 1
    assert compared > 60 and whole > 10


def test_every_accuracy_and_difference(evidence: Evidence, unchanged: Unchanged) -> None:
    compared = 0
    for seeds, found in ((None, BEFORE["accuracy"]), (TWO_SEEDS, BEFORE["two_seeds"])):
        for key, before in found.items():
            name, frames = key.rsplit("|", 1)
            if unchanged([name]):
                assert close(numbers(evidence.accuracy(name, int(frames), seeds)), before), key
                compared += 1
    trained = {name for students in words()["ablations"].values() for name in students} - {CTD, LMA}
    for key, before in BEFORE["less"].items():
        name, other = key.split("|")
        seeds = TWO_SEEDS if name in trained or name.startswith(("ctd-", "lma-")) else None
        if unchanged([name, other]):
            assert close(numbers(evidence.gain(name, other, seeds)), before), key
            compared += 1
    for name, noise in BEFORE["noise"].items():
        assert not unchanged([name, AGAIN[name]]) or close(evidence.training_noise(name), noise)
    assert compared > 150


def test_the_tiny_world(records: Records, unchanged: Unchanged) -> None:
    rows, compared = tiny_world.sweep_rows(records), 0
    means, equal = tiny_world.mean_rows(rows), tiny_world.equal_time(rows)
    equal = equal.set_index(["method", "by", "teacher_frames"])
    for key, before in BEFORE["tiny"].items():
        name, frames = key.split("|")
        if not unchanged([name]):
            continue
        row = means.loc[name, int(frames)]
        assert close([row.accuracy, row.low, row.high], before["accuracy"]), key
        assert close({stage: row[f"{stage}_ms"] for stage in before["ms"]}, before["ms"]), key
        assert close([row.model_ms, row.total_ms], [before["model_ms"], before["total_ms"]]), key
        tokens = [row.tokens_encoder, row.tokens, row.tokens_asked, row.tokens_mean_over_layers]
        assert close([None if pd.isna(value) else value for value in tokens], before["tokens"]), key
        floors = [[row[f"{stage}_floor_ms"], row[f"{stage}_over_floor"]] for stage in before["floor"]]
        assert close(floors, [[least, over] for least, _, over in before["floor"].values()]), key
        compared += 1
    for key, before in BEFORE["equal_time"].items():
        name, field, frames = key.split("|")
        if unchanged([name, "teacher"]):
            row = equal.loc[name, "model" if field == "model_ms" else "end to end", int(frames)]
            found = None if pd.isna(row.gain) else [row.accuracy, row.gain, bool(row.at_least)]
            assert close(found, before), key
    assert compared > 15


def test_real_shapes(records: Records, unchanged: Unchanged) -> None:
    if not unchanged(["latency"]):
        pytest.skip("the records of latency were measured anew")
    record = records.latency["latency_cpu"]
    for row in record.rows:
        tokens = row.prompt_tokens if row.suite == "prefill" else ""
        before = BEFORE["latency"][f"{row.suite}|{row.arm}|{row.frames}|{row.batch}|{tokens}"]
        assert (real_shapes.model_ms(row), real_shapes.encoder_ms(row)) == (before["model"], before["encoder"])
        for name, (time, over) in before["stages"].items():
            stage = row.stages[name]
            floor = "-" if stage.computed or not stage.times_floor else real_shapes.times(stage.times_floor)
            assert (marked(milliseconds(stage.ms), stage_marks(stage)), floor) == (time, over)
    assert len(real_shapes.everything(record)) == sum(len(before["stages"]) for before in BEFORE["latency"].values())
    ups = real_shapes.speed_ups(record).astype(str).to_numpy()[:, 1:].tolist()
    assert sorted(ups) == sorted(row[1:] for row in BEFORE["latency_speed_up"])
    encoders = real_shapes.encoders(record, {}).to_numpy()[:, 1:-1].tolist()
    assert encoders == [row[1 : len(encoders[0]) + 1] for row in BEFORE["latency_encoders"]]
    reasons = [line.rpartition(": ")[2] for line in BEFORE["latency_not_run"]]
    assert [line.rpartition(": ")[2] for line in real_shapes.not_run(record)] == reasons
    assert label("student") in real_shapes.descriptions(record)[2][0]
