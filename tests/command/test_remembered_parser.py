"""Help and mistyped options of a stage verb, said without its parser, and only while nothing has changed."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from liteframe.command import lightning_cli, remembered_parser
from liteframe.command.cli import main
from liteframe.command.configs import find_config, resolve_config_args
from liteframe.command.remembered_parser import RememberedParser, recall, remember


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", ["liteframe", "fit"])
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if os.path.isabs(folder)])
    return tmp_path / "cache"


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(["fit", *words])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def nothing_is_built(*_: Any) -> None:
    raise AssertionError("the parser was built")


WRONG = (
    ("--trainer.max_stepz", "3"),
    ("--mistyped", "3", "--other=4"),
    ("--model.lrr", "3"),
    ("--model.init_args.lrr=3",),
    ("--model.encoder.clipframes", "8"),
    ("--data.batchsize=3",),
)
RIGHT = (
    (),
    ("--trainer.max_step", "3"),
    ("--model.encoder.clip_frames=8", "--data.frames", "8", "--seed_everything=-1"),
    ("--model.teacher.source", "somewhere", "--model.optimizer.lr=1e-3"),
    ("--trainer.callbacks+={class_path: EarlyStopping, init_args: {monitor: loss}}",),
    ("--trainer.callbacks.patience=3", "--allow-code", "--ckpt_path", "last"),
    ("--model=Other", "--model.lrr", "3"),
    ("--model.dict_kwargs.lrr", "3", "--print_config"),
)


def test_the_same_is_said_with_and_without_the_parser(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    built = said(capsys, "--help")
    words = ("--config", "ctd.yaml", *WRONG[1])
    parser = recall("fit")
    assert built[0] == 0 and parser is not None
    monkeypatch.setattr("liteframe.command.cli.recall", lambda verb: None)
    wrong = [said(capsys, "--config", "ctd.yaml", *each) for each in WRONG]
    monkeypatch.setattr("liteframe.command.cli.recall", recall)
    monkeypatch.setattr(lightning_cli, "run_stage", nothing_is_built)
    assert said(capsys, "--help") == built
    assert said(capsys, *words) == wrong[1]
    for each, (code, text) in zip(WRONG, wrong, strict=True):
        again, shorter = said(capsys, "--config", "ctd.yaml", *each)
        assert again == code == 2, text
        what = shorter.partition(";")[0].rpartition(": ")[2]
        assert what in text or (each == WRONG[4] and what == "Option 'encoder.clipframes' is not accepted")
    for each in RIGHT:
        assert parser.fault(resolve_config_args(["--config", "ctd.yaml", *each])) is None, each


@pytest.mark.parametrize("config", ["ctd.yaml", "lma.yaml", "tiny/ctd.yaml", "tiny/pretrain_llm.yaml"])
def test_a_class_is_the_last_that_a_config_names(config: str, tmp_path: Path) -> None:
    parser = RememberedParser("", ["config", "model", "data"], {"CTDStage": ["block"]})
    mistyped = [f"--config={find_config(config)}", "--model.mistyped=1"]
    assert (parser.fault(mistyped) is None) == (not config.endswith("ctd.yaml"))
    other = tmp_path / "other.yaml"
    other.write_text("model: my.package.CTDStage\n")
    assert parser.fault([*mistyped, "--config", str(other)]) is None


def test_what_has_changed_is_not_recalled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, folder = ModuleType("some_module"), tmp_path / "packages"
    folder.mkdir()
    module.__file__ = str(tmp_path / "some_module.py")
    Path(module.__file__).write_text("one = 1\n")
    monkeypatch.setitem(sys.modules, "some_module", module)
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])

    def fresh() -> bool:
        return recall("fit") is not None

    assert not fresh()
    remember("fit", "help", ["--config"], {})
    assert fresh() and recall("predict") is None
    Path(module.__file__).write_text("one = 11\n")
    assert not fresh()
    remember("fit", "help", ["--config"], {})
    os.utime(module.__file__, ns=(1, 1))
    assert not fresh()
    remember("fit", "help", ["--config"], {})
    (folder / "installed").mkdir()
    assert not fresh()
    remember("fit", "help", ["--config"], {})
    for name, value in (("COLUMNS", "41"), ("NO_COLOR", "1")):
        with monkeypatch.context() as changed:
            changed.setenv(name, value)
            assert not fresh()
    with monkeypatch.context() as changed:
        changed.setattr(sys, "path", [*sys.path, str(tmp_path)])
        assert not fresh()
    assert fresh()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"made_by": 1, "files": 2}', "\0"])
def test_a_damaged_memory_is_none(text: str) -> None:
    remember("fit", "help", ["--config"], {})
    remembered_parser._place("fit").write_text(text)
    assert recall("fit") is None


def test_a_home_that_cannot_be_written_is_no_error(own_cache: Path) -> None:
    own_cache.write_text("a file")
    remember("fit", "help", ["--config"], {})
    assert recall("fit") is None
