"""Pipelines skip what is done, go on after kill -9, run anew what changed, and lock their folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from liteframe.command import cli
from liteframe.errors import ConfigError, LiteFrameError
from liteframe.pipeline.command import pipeline_command
from liteframe.pipeline.isolation import isolated
from liteframe.pipeline.recipe import read_recipe
from liteframe.system.own_folder import LISTING, list_files, listing_sha256
from liteframe.system.run_lock import RunLock
from liteframe.system.stage_records import read_stage_records
from ranks import run_ranks
from toy_stage import write_toy_config

CALLS: list[list[str]] = []


def note_command(out: str, word: str = "none", fail: bool = False) -> int:
    """Write a word to a file.

    Args:
        out: the folder.
        word: the word.
        fail: end with a code other than 0.
    """
    CALLS.append([out, word])
    Path(out).mkdir(parents=True, exist_ok=True)
    (Path(out) / "note.txt").write_text(word, encoding="utf-8")
    return 5 if fail else 0


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two stages that write notes."""
    monkeypatch.setitem(cli.FUNCTION_VERBS, "note", ("writes", f"{__name__}:note_command"))
    monkeypatch.chdir(tmp_path)
    CALLS.clear()
    stages = [
        {"name": "first", "verb": "note", "args": ["{run}/first", "--word", "seed{seed}"], "outputs": ["note.txt"]},
        {"name": "second", "verb": "note", "about": "the second", "args": ["{run}/second"], "budget_s": 60},
    ]
    return write_recipe(tmp_path, stages)


def write_recipe(folder: Path, stages: list[dict[str, Any]], name: str = "toy") -> Path:
    path = folder / f"{name}-recipe.yaml"
    path.write_text(yaml.safe_dump({"name": name, "stages": stages}), encoding="utf-8")
    return path


def change(recipe: Path, stage: int, **values: Any) -> None:
    content = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    content["stages"][stage].update(values)
    recipe.write_text(yaml.safe_dump(content), encoding="utf-8")


def test_runs_then_skips(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pipeline_command(str(recipe)) == 0
    assert CALLS == [["runs/toy/first", "seed0"], ["runs/toy/second", "none"]]
    assert "second (2/2): the second, budget 60 s" in capsys.readouterr().out
    assert pipeline_command(str(recipe)) == 0
    text = capsys.readouterr().out
    assert len(CALLS) == 2
    assert re.search(r"first: done before \(\d+ s\), skipped\nsecond: done before \(\d+ s\), skipped\n", text)
    records = read_stage_records("runs/toy")
    assert [record["name"] for record in records] == ["first", "second"]
    assert [record["budget_s"] for record in records] == [None, 60]
    assert all(record["seconds"] >= 0 and record["tries"] == 1 for record in records)


def test_seed_and_run_choose_the_folder(recipe: Path) -> None:
    pipeline_command(str(recipe), seed=3)
    pipeline_command(str(recipe), run="elsewhere")
    assert Path("runs/toy-seed3/first/note.txt").read_text(encoding="utf-8") == "seed3"
    assert Path("elsewhere/second/done.json").is_file()


def test_a_moved_run_is_still_done(recipe: Path) -> None:
    pipeline_command(str(recipe), run="here")
    Path("here").rename("there")
    pipeline_command(str(recipe), run="there")
    assert len(CALLS) == 2


def test_a_change_runs_that_stage_and_the_later_ones(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline_command(str(recipe))
    change(recipe, 1, args=["{run}/second", "--word", "other"])
    pipeline_command(str(recipe))
    assert CALLS[2:] == [["runs/toy/second", "other"]]
    stale = Path("runs/toy/second/stale.txt")
    stale.touch()
    capsys.readouterr()
    change(recipe, 0, args=["{run}/first", "--word", "new"])
    pipeline_command(str(recipe))
    assert len(CALLS) == 5
    text = capsys.readouterr().out
    assert "first: runs again, because args was {run}/first --word seed{seed}, is {run}/first --word new;" in text
    kept = Path("runs/toy/set-aside/second-2")
    assert f"second: runs again, because stage first before it changed; what it made before is kept as {kept}" in text
    assert not stale.exists() and (kept / "stale.txt").exists()


def test_what_no_pipeline_wrote_is_neither_deleted_nor_written_over(recipe: Path) -> None:
    mine = Path("runs/toy/second/note.txt")
    mine.parent.mkdir(parents=True)
    mine.write_text("years of work", encoding="utf-8")
    with pytest.raises(ConfigError, match="runs/toy/second: holds something that no pipeline wrote"):
        pipeline_command(str(recipe))
    assert mine.read_text(encoding="utf-8") == "years of work"


def test_a_stage_of_another_version_is_kept(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline_command(str(recipe))
    monkeypatch.setattr("liteframe.__version__", "99.0")
    pipeline_command(str(recipe))
    assert len(CALLS) == 4
    for stage in ("first", "second"):
        assert (Path("runs/toy/set-aside") / f"{stage}-1" / "note.txt").is_file()
    assert [record["name"] for record in read_stage_records("runs/toy")] == ["first", "second"]


def test_a_missing_output_runs_the_stage_again(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline_command(str(recipe))
    Path("runs/toy/first/note.txt").unlink()
    capsys.readouterr()
    pipeline_command(str(recipe))
    assert "first: runs again, because runs/toy/first/note.txt is missing" in capsys.readouterr().out
    assert len(CALLS) == 3


def test_a_promised_output_must_be_made(recipe: Path) -> None:
    change(recipe, 0, outputs=["other.txt"])
    with pytest.raises(LiteFrameError, match=r"first ended without making runs/toy/first/other\.txt"):
        pipeline_command(str(recipe))


def test_a_failed_stage_is_tried_again(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(recipe, 1, args=["{run}/second", "--fail", "true"])
    with pytest.raises(LiteFrameError, match="second ended with code 5"):
        pipeline_command(str(recipe))
    with pytest.raises(LiteFrameError, match="second ended with code 5"):
        pipeline_command(str(recipe))
    assert re.search(r"second \(2/2\): .*; goes on after \d+ s of earlier work\n", capsys.readouterr().out)
    assert json.loads(Path("runs/toy/second/progress.json").read_text(encoding="utf-8"))["tries"] == 2
    change(recipe, 1, args=["{run}/second"])
    pipeline_command(str(recipe))
    assert "second: starts anew, because args was" in capsys.readouterr().out


def test_only(recipe: Path) -> None:
    with pytest.raises(ConfigError, match="stage first must run first"):
        pipeline_command(str(recipe), only=["second"])
    with pytest.raises(ConfigError, match="--only third: no such stage; recipe toy has first, second"):
        pipeline_command(str(recipe), only=["third"])
    pipeline_command(str(recipe), only=["first"])
    pipeline_command(str(recipe), only=["second"])
    assert [out for out, _ in CALLS] == ["runs/toy/first", "runs/toy/second"]


def test_over_budget_is_a_warning(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(recipe, 1, budget_s=1e-9)
    pipeline_command(str(recipe))
    assert re.search(r"second: WARNING: \d+ s over its budget", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"verb": "fit"}, "stage 1: `name` is missing"),
        ({"name": "a/b", "verb": "fit"}, "it is a folder"),
        ({"name": "a", "verb": "fit", "arg": []}, "stage a: no field 'arg'"),
        ({"name": "a", "verb": "fit", "budget_s": "soon"}, "`budget_s` must be a number"),
    ],
)
def test_a_wrong_recipe_is_refused(tmp_path: Path, stage: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_recipe(str(write_recipe(tmp_path, [stage])))


@pytest.mark.parametrize("output", ["../../../x", "/etc/passwd", "{run}/../x", "{run}x/y"])
def test_outputs_outside_the_run_are_refused(tmp_path: Path, output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stage = {"name": "a", "verb": "note", "outputs": [output]}
    with pytest.raises(ConfigError, match="stage a: `outputs`: .* leads out of"):
        pipeline_command(str(write_recipe(tmp_path, [stage])))


def test_two_stages_of_one_name_are_refused(tmp_path: Path) -> None:
    stage = {"name": "a", "verb": "fit"}
    with pytest.raises(ConfigError, match="two stages are called 'a'"):
        read_recipe(str(write_recipe(tmp_path, [stage, stage])))


def test_the_folder_is_locked_until_its_holder_ends(tmp_path: Path) -> None:
    code = (
        "import sys, time; from liteframe.system.run_lock import RunLock\n"
        "with RunLock(sys.argv[1]): print(1, flush=True); time.sleep(99)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(ConfigError, match=f"in use by pid {holder.pid} on "), RunLock(tmp_path):
            pass
        holder.kill()
    with RunLock(tmp_path):
        assert f"pid {os.getpid()} " in (tmp_path / ".lock").read_text(encoding="utf-8")


@pytest.mark.parametrize("place", ["file", "file/run"])
def test_a_run_folder_that_is_a_file_is_named_so(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=rf"{place}: the run folder cannot be written \(.*/file is a file\); give"):
        RunLock(tmp_path / place).__enter__()


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    lock.__enter__()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, b"1")
        signal.pause()
    os.read(reading, 1)
    try:
        lock._forget()  # as the kernel does when this process is killed
        with RunLock(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_stage_leaves_the_process_as_it_was() -> None:
    import torch

    threads, handler = torch.get_num_threads(), signal.getsignal(signal.SIGTERM)
    with isolated(1, {"TOY": "1"}):
        first = torch.rand(1)
        assert os.environ["TOY"] == "1"
        os.environ["LOCAL_RANK"] = "0"
        torch.set_num_threads(threads + 1)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert "TOY" not in os.environ
    assert "LOCAL_RANK" not in os.environ
    assert torch.get_num_threads() == threads
    assert signal.getsignal(signal.SIGTERM) is handler
    with isolated(1):
        assert torch.equal(first, torch.rand(1))


def killed_pipeline(rank: int, recipe: Path) -> None:
    os.environ["TOY_KILL_AT"] = "13"
    cli.main(["pipeline", str(recipe), "--allow-code"])


def test_kill_9_in_a_fit_goes_on_to_the_same_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_toy_config(tmp_path)
    stages = [{"name": "train", "verb": "fit", "config": "toy.yaml", "outputs": ["result.json"]}]
    recipe = write_recipe(tmp_path, stages)
    assert run_ranks(killed_pipeline, 1, recipe) == [-signal.SIGKILL]
    assert not Path("runs/toy/train/result.json").exists()
    assert cli.main(["pipeline", str(recipe), "--allow-code"]) == 0
    assert cli.main(["pipeline", str(recipe), "--allow-code", "--run", "straight"]) == 0
    resumed, straight = (
        json.loads(Path(run, "train", "result.json").read_text(encoding="utf-8")) for run in ("runs/toy", "straight")
    )
    assert resumed["first_step"] == 10
    assert straight["first_step"] == 0
    assert resumed["weight"] == straight["weight"]
    (record,) = read_stage_records("runs/toy")
    assert record["tries"] == 2


def test_the_folder_for_old_stages_is_no_name_of_a_stage(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`name` set-aside is the folder"):
        read_recipe(str(write_recipe(tmp_path, [{"name": "set-aside", "verb": "note"}])))


def test_a_finished_stage_names_the_export_that_it_made(recipe: Path) -> None:
    assert pipeline_command(str(recipe)) == 0
    assert "export_sha256" not in json.loads(Path("runs/toy/first/done.json").read_text())
    export = Path("runs/toy/first/export")
    export.mkdir()
    (export / "model.safetensors").write_bytes(b"weights")
    list_files(export)
    Path("runs/toy/first/done.json").rename("runs/toy/first/progress.json")
    assert pipeline_command(str(recipe)) == 0
    named = json.loads(Path("runs/toy/first/done.json").read_text())["export_sha256"]
    assert named == listing_sha256(export) == hashlib.sha256((export / LISTING).read_bytes()).hexdigest()
    (export / "model.safetensors").write_bytes(b"others")
    list_files(export)
    assert named != listing_sha256(export)
