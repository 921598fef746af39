"""A run folder says what it was made of, and the same comes out of it again, from any folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import liteframe
from liteframe.command import cli
from liteframe.run_control import run_inputs
from liteframe.run_control.run_inputs import differences, facts_of, inputs_of
from toy_stage import write_toy_config

EXPORTER = "--model=toy_stage.ToyExporter"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    write_toy_config(tmp_path / "work")
    return tmp_path / "work"


def fit(*words: str, config: str = "toy.yaml") -> int:
    common = [f"--config={config}", "--trainer.logger=false", "--trainer.default_root_dir=run"]
    return cli.main(["fit", *common, "--trainer.max_steps=5", *words])


def record(folder: str | Path, name: str = "run.json") -> dict[str, Any]:
    return dict(json.loads(Path(folder, name).read_text(encoding="utf-8")))


def weights(folder: str | Path) -> torch.Tensor:
    content = torch.load(Path(folder, "checkpoints/last.ckpt"), weights_only=True)
    weight: torch.Tensor = content["state_dict"]["weight"]
    return weight


def test_the_record_says_what_the_run_was_made_of_and_how_it_ended(here: Path) -> None:
    assert fit("--seed_everything=7") == 0
    told = record("run")
    assert (told["status"], told["steps"], told["seed"], told["verb"]) == ("finished", 5, 7, "fit")
    assert told["seconds"] > 0 and told["folder"] == str(here) and told["run_folder"] == str(here / "run")
    assert told["environment"]["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert told["environment"]["packages"]["liteframe"] == liteframe.__version__
    assert told["config"]["trainer"]["max_steps"] == 5 and told["config"]["model"]["init_args"]["rate"] == 0.1
    assert told["ranks"] == [{"host": told["ranks"][0]["host"], "device": "cpu", "threads": torch.get_num_threads()}]
    assert fit("--ckpt_path=last", "--trainer.max_steps=8") == 0
    told = record("run")
    assert told["from_checkpoint"] == "run/checkpoints/last.ckpt" and told["steps"] == 8
    assert [(one["status"], one["steps"]) for one in told["earlier"]] == [("finished", 5)]


def test_a_run_that_fails_says_by_what(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fit("--model.init_args.broken=true") == 1
    assert record("run")["status"] == "failed"
    assert record("run")["error"] == "toy.yaml: field broken is true; set it to false"


def test_the_same_comes_out_bit_for_bit_from_another_folder(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit("--seed_everything=3", EXPORTER, "--model.out=made/export") == 0
    export = (here / "made/export/export.txt").stat().st_mtime_ns
    monkeypatch.chdir(here.parent)
    assert cli.main(["rerun", "work/run", "--out", "again", "--allow-code"]) == 0
    assert Path.cwd() == here.parent
    assert "again: export is the same, bit for bit" in capsys.readouterr().out
    assert (here.parent / "again/export/export.txt").read_text() == "first"
    assert (here / "made/export/export.txt").stat().st_mtime_ns == export, "the first export is left alone"
    assert torch.equal(weights(here / "run"), weights(here.parent / "again"))
    assert record(here.parent / "again")["seed"] == 3


def test_a_run_that_was_broken_off_is_repeated_in_one_go(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("--trainer.max_steps=3") == 0
    assert fit("--ckpt_path=last") == 0
    assert cli.main(["rerun", "run/run.json", "--allow-code"]) == 0
    assert "it is repeated from the beginning" in capsys.readouterr().err
    assert torch.equal(weights("run"), weights("run-rerun"))
    assert json.loads(Path("run-rerun/result.json").read_text())["first_step"] == 0


def test_what_has_changed_is_named_before_anything_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "list.txt").write_text("1")
    assert fit(EXPORTER, "--model.mark=list.txt") == 0
    assert record("run")["inputs"]["model.init_args.mark"]["path"] == "list.txt"
    (here / "list.txt").write_text("2")
    assert cli.main(["rerun", "run", "--allow-code"]) == 1
    error = capsys.readouterr().err
    assert "model.init_args.mark list.txt: sha256 was " in error and "--changed_data" in error
    assert not (here / "run-rerun").exists()
    (here / "list.txt").unlink()
    assert cli.main(["rerun", "run", "--allow-code"]) == 1
    assert "list.txt: is not there any more" in capsys.readouterr().err
    assert cli.main(["rerun", "run", "--allow-code", "--changed_data"]) == 0
    said = capsys.readouterr()
    assert "warning: model.init_args.mark list.txt: is not there any more" in said.err
    assert cli.main(["rerun", "run", "--allow-code", "--changed_data"]) == 1
    assert "run-rerun: is not empty; give another --out" in capsys.readouterr().err


def test_other_versions_are_a_warning(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit() == 0
    told = record("run")
    told["environment"]["packages"]["torch"] = "1.0"
    Path("run/run.json").write_text(json.dumps(told))
    assert cli.main(["rerun", "run", "--allow-code"]) == 0
    assert (
        f"warning: numbers may differ in their last digits: torch was 1.0, is {torch.__version__.partition('+')[0]}"
        in (capsys.readouterr().err)
    )


def test_a_foreign_record_runs_no_code_of_its_own(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit() == 0
    assert cli.main(["rerun", "run"]) == 1
    assert "toy_stage.ToyStage" in (error := capsys.readouterr().err) and "--allow-code" in error


def test_what_is_no_record_is_said_to_be_none(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "run").mkdir()
    assert cli.main(["rerun", "run"]) == 1
    assert "run: holds no run.json" in capsys.readouterr().err
    (here / "run/run.json").write_text("{}")
    assert cli.main(["rerun", "run"]) == 1
    assert "run/run.json: no run of liteframe wrote it" in capsys.readouterr().err
    assert fit() == 1, "somebody else's file is not replaced"
    assert (here / "run/run.json").read_text() == "{}" and not (here / "run/config.yaml").exists()


def test_a_folder_is_told_by_all_that_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner/a.bin").write_bytes(b"abc")
    told = [facts_of(str(folder))]
    (folder / "inner/a.bin").write_bytes(b"abd")
    told.append(facts_of(str(folder)))
    (folder / "inner/a.bin").rename(folder / "inner/b.bin")
    told.append(facts_of(str(folder)))
    assert len({str(facts) for facts in told}) == 3
    assert facts_of("no such thing") is None and facts_of("") is None and facts_of("a/b") is None
    assert facts_of("x" * 5000) is None and facts_of("a\0b") is None


def test_a_folder_is_told_without_locks_and_what_is_hidden(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / ".cache/download").mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"abc")
    before = facts_of(str(folder))
    (folder / ".cache/download/a.metadata").write_text("when it was downloaded")
    (folder / "parts.lock").write_text("pid 12 on node3")
    assert facts_of(str(folder)) == before


def test_of_a_large_folder_no_more_than_the_ends_of_its_files_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mib = 1 << 20
    (tmp_path / "a.bin").write_bytes(bytes(3 * mib))
    middle, end = bytearray(3 * mib), bytearray(3 * mib)
    middle[3 * mib // 2], end[-1] = 1, 1
    told = []
    for most in (4 * mib, mib):
        monkeypatch.setattr(run_inputs, "_WHOLE_FOLDER_BYTES", most)
        for content in (bytes(3 * mib), middle, end):
            (tmp_path / "a.bin").write_bytes(content)
            told.append(str(facts_of(str(tmp_path))))
    assert len({*told[:3]}) == 3 and told[3] == told[4] != told[5]


@pytest.mark.parametrize("given", [str, lambda path: [{"path": str(path), "root": None, "weight": 1.0}]])
def test_videos_of_a_folder_are_told_by_names_and_sizes_and_not_read(
    given: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("a.mp4", "b.mp4", "notes.txt"):
        (videos / name).write_bytes(b"abc")
    monkeypatch.setattr(run_inputs, "_add_content", lambda *_: pytest.fail("a video was read"))
    inputs = dict(inputs_of({"data": {"init_args": {"train": given(videos), "frames": 8}}}, ()))
    assert [facts["videos"] for facts in inputs.values()] == [2] and not [*differences(inputs)]
    (videos / "notes.txt").write_bytes(b"no video")
    assert not [*differences(inputs)]
    (videos / "b.mp4").write_bytes(b"longer")
    assert "sha256 was" in next(differences(inputs))
    monkeypatch.setattr(run_inputs, "_MOST_SIZES", 1)
    bounded = dict(inputs_of({"data": {"init_args": {"train": given(videos)}}}, ()))
    (videos / "b.mp4").write_bytes(b"longer still")
    assert not [*differences(bounded)], "sizes are asked for of so many videos only"
    (videos / "c.mp4").write_bytes(b"")
    assert "videos was 2, is 3" in next(differences(bounded))
    for path in videos.glob("*.mp4"):
        path.unlink()
    assert "no video in this folder" in next(differences(bounded))
