"""Paths of users: `~` and variables at their start, written out once and for every setting."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from pathlib import Path

import pytest

from liteframe.command import cli
from liteframe.data.sources.manifest import read_manifest
from liteframe.errors import ConfigError
from liteframe.system.user_path import user_path, with_user_paths
from toy_stage import write_toy_config


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("SCRATCH", "/scratch/me/")
    monkeypatch.setenv("SECRET", "hunter2")
    monkeypatch.delenv("UNSET", raising=False)
    return folder


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("~", "{home}"),
        ("~/a b/c", "{home}/a b/c"),
        ("$SCRATCH/x", "/scratch/me/x"),
        ("${SCRATCH}/x", "/scratch/me/x"),
        ("$SCRATCH", "/scratch/me"),
        *(
            (text, text)
            for text in ("", "a/~", "./~/x", "~no-such-user/x", "a/$SCRATCH", "$5", "$5/x", "$SCRATCHy.mp4")
        ),
        *((text, text) for text in ("$SECRET/x", "https://a.b/$SCRATCH", "s3://~/x", "org/model", "/a/~b", "a~")),
    ],
)
def test_what_a_shell_would_write_out_at_the_start(text: str, expected: str, home: Path) -> None:
    assert user_path(text) == expected.format(home=home)
    assert user_path(user_path(text)) == expected.format(home=home)


def test_the_home_of_another_user_is_that_of_the_system() -> None:
    assert user_path("~root/x") == os.path.expanduser("~root/x") != "~root/x"


def test_a_variable_that_is_not_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.train \$UNSET/x: \$UNSET is not set"):
        user_path("$UNSET/x", "data.train")
    Path("$UNSET").mkdir()
    assert user_path("$UNSET/x") == "$UNSET/x", "what is there is meant"


def test_every_text_of_a_config_at_any_depth(home: Path) -> None:
    config = {"a": Namespace(b=["~/x", {"c": ("~/y", 3)}], d=None), "e": 1.5}
    assert with_user_paths(config) == {"a": Namespace(b=[f"{home}/x", {"c": (f"{home}/y", 3)}], d=None), "e": 1.5}


def test_a_run_in_the_home_folder_is_written_there_and_gone_on_with(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_toy_config(Path.cwd())
    args = ["fit", "--config=toy.yaml", "--trainer.default_root_dir=~/runs/a"]
    assert cli.main([*args, "--trainer.max_steps=3"]) == 0
    assert (
        not Path("~").exists() and (home / "runs/a/config.yaml").is_file() and list((home / "runs/a").glob("events*"))
    )
    assert cli.main([*args, "--ckpt_path=last", "--trainer.max_steps=5"]) == 0
    assert json.loads((home / "runs/a/result.json").read_text())["first_step"] == 3
    again = ["fit", "--config=~/runs/a/config.yaml", "--allow-code", "--trainer.default_root_dir=$HOME/b"]
    assert cli.main([*again, "--ckpt_path=~/runs/a/checkpoints/last.ckpt", "--trainer.max_steps=6"]) == 0
    assert json.loads((home / "b/result.json").read_text())["first_step"] == 5
    assert os.listdir() == ["toy.yaml"]


def test_verbs_with_options_of_their_own(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "~/nothing"]) == 1
    assert f"{home}/nothing: no such" in capsys.readouterr().err
    assert cli.main(["export", "~/run", "~/out"]) == 1
    assert f"{home}/run: no such folder" in capsys.readouterr().err


def test_rows_of_a_list_without_a_root(home: Path) -> None:
    rows = [{"path": "~/a.mp4"}, {"path": "~nobody-here.mp4"}, {"path": "$SCRATCH/b.mp4"}, {"path": "./~/c.mp4"}]
    Path("list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    here = Path.cwd()
    paths = [str(home / "a.mp4"), *(str(here / name) for name in ("~nobody-here.mp4", "$SCRATCH/b.mp4", "~/c.mp4"))]
    assert [row.path for row in read_manifest("list.jsonl")] == paths
    assert read_manifest("list.jsonl", root=str(here))[0].path == str(here / "~" / "a.mp4")


@pytest.mark.parametrize("text", ["~nobody_x/y", "~nobody_x"])
def test_a_setting_with_the_home_of_nobody_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_toy_config(Path.cwd())
    assert cli.main(["fit", "--config=toy.yaml", f"--trainer.default_root_dir={text}"]) == 1
    assert f"trainer.default_root_dir {text}: no user nobody_x" in capsys.readouterr().err
    assert os.listdir() == ["toy.yaml"]
    kept = ["~5 boxes", "~", "./~nobody_x", "~ x"]
    assert with_user_paths([*kept]) == [os.path.expanduser(word) for word in kept]
    Path(text).mkdir(parents=True)
    assert with_user_paths(text) == text, "what is there is meant"
