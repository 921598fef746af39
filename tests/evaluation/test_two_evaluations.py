"""Two evaluations compared in pairs: what only one of them has is said, and costs nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from evaluating import copied_world, evaluate, lines, report, whole
from liteframe.command import cli
from liteframe.evaluation.scoring.compare import mcnemar_exact
from tiny_world import home, host_folder


def test_two_evaluations_in_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = home() / "other-evaluation"
    assert evaluate("--out", other, model=host_folder()) == 0
    capsys.readouterr()
    out = tmp_path / "c.json"
    assert cli.main(["evaluate", "--compare", str(whole()), str(other), "--out", str(out)]) == 0
    told = capsys.readouterr().out
    found = json.loads(out.read_text())["comparison"]
    for frames in ("8", "13"):
        a, b = (report(folder)["judged"][frames]["likelihood"] for folder in (whole(), other))
        only_a, only_b = ([name for name in a if x[name] and not y[name]] for x, y in ((a, b), (b, a)))
        flips = found[frames]["likelihood"]
        assert (flips["only_a"], flips["only_b"]) == (only_a, only_b)
        assert flips["p"] == pytest.approx(mcnemar_exact(len(only_a), len(only_b)))
    assert "right in A alone at 8 frames (strict)" in told
    assert cli.main(["evaluate", "--compare", str(whole()), str(other), "--frames", "8,13"]) == 0
    assert "8 and 13" in capsys.readouterr().out
    assert evaluate("--out", tmp_path / "o", "--limit", 1) == 0
    assert cli.main(["evaluate", "--compare", str(whole()), str(tmp_path / "o")]) == 1
    assert "limit is None and 1" in capsys.readouterr().err


def told_by_comparing(a: Path, b: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert cli.main(["evaluate", "--compare", str(a), str(b), *words]) == 0
    return capsys.readouterr().out


def test_videos_that_only_one_of_them_had_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = copied_world(tmp_path / "world"), tmp_path / "o"
    rows = [json.loads(line) for line in (data / "test.jsonl").read_text().splitlines()]
    (data / rows[0]["path"]).unlink()
    (data / rows[1]["path"]).write_bytes(b"no video")
    assert evaluate("--out", out, "--data", data) == 0
    told = told_by_comparing(whole(), out, capsys).splitlines()
    assert told[0].split()[-7:] == ["pairs", "not", "in", "A", "not", "in", "B"]
    assert told[2].split()[-3:] == ["4", "0", "8"]  # of 12, four were left out and four were skipped
    assert told_by_comparing(out, whole(), capsys).splitlines()[2].split()[-3:] == ["4", "8", "0"]


def test_other_questions_are_not_taken_for_those_that_were_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = copied_world(tmp_path / "world"), tmp_path / "o"
    rows = [json.loads(line) for line in (data / "test.jsonl").read_text().splitlines()]
    rows[0]["id"] = "another"
    (data / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert evaluate("--out", out, "--data", data) == 0
    assert cli.main(["evaluate", "--compare", str(whole()), str(out)]) == 1
    assert "4 questions are only in the first and 4 only in the second" in capsys.readouterr().err


def test_an_answer_without_logits_costs_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As of a model to which two options begin alike."""
    out = tmp_path / "o"
    shutil.copytree(whole(), out)
    changed = [
        {**line, "option_logits": None if number == 0 else line["option_logits"]}
        for number, line in enumerate(lines(out))
    ]
    (out / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in changed))
    assert evaluate("--out", out) == 0
    told = told_by_comparing(whole(), out, capsys, "--frames", str(changed[0]["frames"])).splitlines()
    pairs = {line.split()[1]: line.split()[-3:] for line in told[1:4]}
    assert pairs == {"strict": ["12", "0", "0"], "lmms-eval": ["12", "0", "0"], "likelihood": ["11", "0", "1"]}


def test_what_is_not_compared_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "o"
    assert evaluate("--out", out, "--answer", "likelihood", "--frames", "8,4") == 0
    told = told_by_comparing(whole(), out, capsys)
    assert "not compared: 13 frames, which only A was asked with" in told
    assert "not compared: 4 frames, which only B was asked with" in told
    assert "not compared at 8 frames: strict, lmms-eval, which only A has" in told
    assert "only B has" not in told
    told = told_by_comparing(whole(), out, capsys, "--frames", "13,4")
    assert "13 and 4" in told and "not compared at 13 and 4 frames: strict, lmms-eval, which only A has" in told
    assert evaluate("--out", tmp_path / "p", "--answer", "likelihood", "--frames", "4") == 0
    assert cli.main(["evaluate", "--compare", str(whole()), str(tmp_path / "p")]) == 1
    assert "there are 8, 13 in the first and 4 in the second" in capsys.readouterr().err
