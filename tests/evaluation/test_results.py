"""Folders of results: killed and gone on with, shared, torn, and never written over."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from evaluating import copied_world, evaluate, lines, report, sorted_lines, whole, world
from liteframe.command import cli
from liteframe.errors import ConfigError, DataError
from liteframe.evaluation.results import Part, ResultFolder
from tiny_world import host_folder, lma_run_folder


def evaluate_alone(words: list[str]) -> None:
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # else the command takes all cores
    cli.main(words)


def test_killed_in_the_middle_it_goes_on(tmp_path: Path) -> None:
    wanted = sorted_lines(whole())
    words = ["--benchmark", "tiny-world", "--data", world(), "--frames", "8,13", "--out", tmp_path]
    command = ["evaluate", *map(str, [lma_run_folder(), *words])]
    process = multiprocessing.get_context("fork").Process(target=evaluate_alone, args=(command,))
    process.start()
    file = tmp_path / "answers.jsonl"
    while process.is_alive() and not (file.exists() and file.stat().st_size):
        time.sleep(0.002)
    process.kill()
    process.join()
    first = lines(tmp_path)
    assert process.exitcode == -signal.SIGKILL and 0 < len(first) < len(wanted)
    assert not (tmp_path / "report.json").exists()
    assert evaluate("--out", tmp_path) == 0
    assert lines(tmp_path)[: len(first)] == first
    assert sorted_lines(tmp_path) == wanted
    assert report(tmp_path) == report(whole())


def test_two_parts_give_what_one_gives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluate("--out", tmp_path, "--part", "2/2") == 0
    assert not report(tmp_path)["complete"] and "other parts" in capsys.readouterr().out
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert evaluate("--out", tmp_path) == 0
    assert sorted_lines(tmp_path) == sorted_lines(whole())
    assert report(tmp_path) == report(whole())
    assert (tmp_path / "answers-1-of-2.jsonl").read_text() and (tmp_path / "answers-2-of-2.jsonl").read_text()
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.delenv("RANK")
    assert evaluate("--out", tmp_path) == 0  # all alone, and nothing left to ask
    assert sorted_lines(tmp_path) == sorted_lines(whole())


@pytest.mark.parametrize(
    ("variables", "part"),
    [
        ({}, Part(1, 1)),
        ({"RANK": "3", "WORLD_SIZE": "8"}, Part(4, 8)),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, Part(2, 2)),
        ({"RANK": "0", "WORLD_SIZE": "2", "SLURM_PROCID": "1", "SLURM_NTASKS": "4"}, Part(1, 2)),
        ({"RANK": "3"}, None),
        ({"WORLD_SIZE": "8"}, None),
        ({"RANK": "", "WORLD_SIZE": "8"}, None),
        ({"RANK": "8", "WORLD_SIZE": "8"}, None),
        ({"RANK": "0", "WORLD_SIZE": "8" * 5000}, None),
    ],
)
def test_a_launcher_says_which_part_it_is_or_is_refused(
    variables: dict[str, str], part: Part | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if part is not None:
        assert Part.parse(None) == part
        return
    with pytest.raises(ConfigError, match="WORLD_SIZE is .* unset both, or give --part"):
        Part.parse(None)


def test_a_video_that_is_taken_away_later_is_left_out(tmp_path: Path) -> None:
    data, out = copied_world(tmp_path / "world"), tmp_path / "o"
    rows = [json.loads(line) for line in (data / "test.jsonl").read_text().splitlines()]
    (data / rows[0]["path"]).write_bytes(b"no video")
    assert evaluate("--out", out, "--data", data) == 0
    assert {item["question"].split()[0] for item in report(out)["skipped"]} == {rows[0]["id"]}
    for row in rows[:2]:  # of one there are skips, of the other answers
        (data / row["path"]).unlink()
    assert evaluate("--out", out, "--data", data) == 0
    found = report(out)
    assert found["complete"] and len(found["left_out"]) == 8 and not found["skipped"]
    assert found["frames"]["8"]["answered"] == 4


def test_a_part_is_for_one_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--out", tmp_path, "--part", "1/2") == 0
    with ResultFolder(tmp_path).writing(Part(2, 2)):
        for words, said in [(["--part", "2/2"], "at work already"), (["--part", "1/3"], "part 2/2 is at work")]:
            assert evaluate("--out", tmp_path, *words) == 1
            assert said in capsys.readouterr().err
    assert evaluate("--out", tmp_path, "--part", "2/2") == 0
    assert sorted_lines(tmp_path) == sorted_lines(whole())


def test_a_torn_last_line_is_asked_again(tmp_path: Path) -> None:
    out = shutil.copytree(whole(), tmp_path / "o")
    data = (out / "answers.jsonl").read_bytes()
    for torn in (b'{"question": "test-0', b"\0" * 40, b'{"question": "test\n'):
        (out / "answers.jsonl").write_bytes(data[: data[:-1].rfind(b"\n") + 1] + torn)
        assert evaluate("--out", out) == 0
        assert (out / "answers.jsonl").read_bytes() == data, torn


def test_a_line_of_others_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shutil.copytree(whole(), tmp_path / "o")
    path = out / "answers.jsonl"
    text = path.read_text().splitlines(keepends=True)
    for broken in ("no answer\n", '{"question": 3}\n'):
        path.write_text("".join([text[0], broken, *text[1:]]))
        assert evaluate("--out", out) == 1
        assert "line 2 is no answer" in capsys.readouterr().err
    path.write_text("".join([*text, text[3]]))  # twice, and counted once
    assert evaluate("--out", out) == 0
    assert report(out) == report(whole())


def test_other_settings_are_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--out", tmp_path, "--limit", 1) == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    others = [
        ["--limit", 2, "limit 1, this one has 2"],
        ["--frames", 8, "frames [8, 13], this one has [8]"],
        ["--sampler", "Linspace", "sampler"],
        ["--answer", "likelihood", "answer 'generate'"],
        ["--dtype", "bfloat16", "dtype"],
    ]
    for name, value, said in others:
        words = [name, value] if name == "--limit" else ["--limit", 1, name, value]
        assert evaluate("--out", tmp_path, *words) == 1
        assert str(said) in capsys.readouterr().err
    assert evaluate("--out", tmp_path, "--limit", 1, model=host_folder()) == 1
    assert "weights_sha256" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_questions_that_changed_since_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = copied_world(tmp_path / "world"), tmp_path / "o"
    assert evaluate("--out", out, "--data", data) == 0
    rows = [json.loads(line) for line in (data / "test.jsonl").read_text().splitlines()]
    asked = rows[2]["questions"][0]
    asked["options"] = asked["options"][::-1]
    (data / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert evaluate("--out", out, "--data", data) == 1
    assert "has changed" in capsys.readouterr().err
    (data / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:2]))
    assert evaluate("--out", out, "--data", data) == 1
    assert "no longer there" in capsys.readouterr().err


def test_what_others_wrote_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert evaluate("--out", tmp_path) == 1
    assert "holds thesis.txt" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    out = tmp_path / "o"
    assert evaluate("--out", out, "--limit", 1, "--frames", 8) == 0
    (out / "report.json").write_text('{"my": "report"}')
    assert evaluate("--out", out, "--limit", 1, "--frames", 8) == 1
    assert (out / "report.json").read_text() == '{"my": "report"}'


def test_no_folder_of_results(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="evaluation.json"):
        ResultFolder(tmp_path).record()
