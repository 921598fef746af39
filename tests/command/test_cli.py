"""The command: verbs, options from signatures, errors as one line, stages from configs, DDP children."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from forked_command import run_command
from liteframe.command import cli
from liteframe.data.decoding import read_video
from liteframe.errors import ConfigError
from ranks import run_ranks
from toy_stage import write_toy_config


def test_help_lists_all_verbs_without_loading_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from liteframe.command.cli import main; assert main(['--help']) == 0; "
        "assert not {'torch', 'lightning', 'jsonargparse', 'numpy'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    for verb in (*cli.STAGE_VERBS, *cli.FUNCTION_VERBS):
        assert f"\n  {verb} " in result.stdout


@pytest.mark.parametrize("unread", ["stdout", "stderr"])
def test_output_that_nobody_reads_ends_the_command_without_a_traceback(unread: str, tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, unread: write_end}
    words = ["--help"] if unread == "stdout" else ["no-such-verb"]
    command = [sys.executable, "-m", "liteframe", *words]
    done = subprocess.run(command, cwd=tmp_path, text=True, timeout=100, check=False, **streams)  # type: ignore[call-overload]
    os.close(write_end)
    assert done.returncode == 141
    said = {"stdout": done.stderr, "stderr": ""}[unread]
    assert said in ("", "liteframe: stopped, as nobody reads its output any more\n") and (said or unread == "stderr")


def test_a_broken_pipe_of_another_is_an_error_like_any(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(args: Any) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(cli, "dispatch", broken)
    with pytest.raises(BrokenPipeError):
        cli.main(["check", "x"])


def test_version_and_unknown_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("liteframe ")
    assert cli.main(["no-such-verb"]) == 2
    assert "no verb 'no-such-verb'" in capsys.readouterr().err
    assert cli.main(["benhc"]) == 2
    assert "no verb 'benhc'; did you mean bench?" in capsys.readouterr().err


@pytest.mark.parametrize("verb", cli.FUNCTION_VERBS)
def test_every_option_of_a_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    from importlib import import_module
    from inspect import signature

    import docstring_parser

    module, _, name = cli.FUNCTION_VERBS[verb][1].partition(":")
    function = getattr(import_module(module), name)
    described = {item.arg_name for item in docstring_parser.parse(function.__doc__ or "").params if item.description}
    assert set(signature(function).parameters) == described
    assert cli.main([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert all(option in text for option in signature(function).parameters)


def example(source: str, count: int = 1, names: list[str] | None = None) -> int:
    """Do an example.

    Args:
        source: where from.
        count: how many.
        names: which ones.
    """
    print(json.dumps([source, count, names]))
    return 3


def test_options_come_from_the_signature(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(cli.FUNCTION_VERBS, "example", ("an example", f"{__name__}:example"))
    assert cli.main(["example", "here", "--count", "2", "--names", "a", "b"]) == 3
    assert json.loads(capsys.readouterr().out) == ["here", 2, ["a", "b"]]
    assert cli.main(["example", "here", "--count", "many"]) == 2
    error = capsys.readouterr().err
    assert "count" in error
    assert "Traceback" not in error


def lists_example(frames: list[int] = [8, 16], names: list[str] | None = None) -> int:  # noqa: B006
    """Do an example.

    Args:
        frames: how many.
        names: whose.
    """
    print(json.dumps([frames, names]))
    return 0


def test_a_file_that_is_called_like_an_option_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "-i.mp4").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(cli.FUNCTION_VERBS, "example", ("an example", f"{__name__}:example"))
    assert cli.main(["example", "-i.mp4"]) == 3
    assert json.loads(capsys.readouterr().out)[0] == "./-i.mp4"
    assert cli.main(["example", "-absent.mp4"]) == 2


def test_a_list_given_twice_is_one_list(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(cli.FUNCTION_VERBS, "example", ("an example", f"{__name__}:lists_example"))
    for args, expected in (
        ([], [[8, 16], None]),
        (["--frames", "4", "--names", "a", "b", "--frames", "2", "1", "--names=c"], [[4, 2, 1], ["a", "b", "c"]]),
    ):
        assert cli.main(["example", *args]) == 0
        assert json.loads(capsys.readouterr().out) == expected
    assert cli.main(["example", "--frames", "many"]) == 2
    assert "frames" in capsys.readouterr().err


def words_example(source: str, count: int = 1, *, size: int = 2) -> int:
    """Do an example.

    Args:
        source: where from.
        count: how many.
        size: how large.
    """
    print(json.dumps([source, count, size]))
    return 0


def test_before_keyword_only_parameters_a_word_may_be_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.FUNCTION_VERBS, "example", ("an example", f"{__name__}:words_example"))
    for args, expected in ((["here"], ["here", 1, 2]), (["here", "5", "--size=3"], ["here", 5, 3])):
        assert cli.main(["example", *args]) == 0
        assert json.loads(capsys.readouterr().out) == expected


def texts_example(name: str, asked: str | None = None, *, out: str | None = None) -> int:
    """Do an example.

    Args:
        name: whose.
        asked: what.
        out: where to.
    """
    print(json.dumps([name, asked, out]))
    return 0


@pytest.mark.parametrize("text", ["# of balls?", "null", "12", "a: b", "[x]", "yes", "'quoted'"])
def test_texts_are_taken_as_they_stand(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.FUNCTION_VERBS, "example", ("an example", f"{__name__}:texts_example"))
    assert cli.main(["example", text, text, f"--out={text}"]) == 0
    assert json.loads(capsys.readouterr().out) == [text, text, text]
    assert cli.main(["example", text]) == 0
    assert json.loads(capsys.readouterr().out) == [text, None, None]


def failing() -> int:
    """Fail on purpose."""
    raise ConfigError("file.yaml: field x is wrong; set it to 1")


def test_an_error_of_the_house_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(cli.FUNCTION_VERBS, "failing", ("fails", f"{__name__}:failing"))
    assert cli.main(["failing"]) == 1
    assert capsys.readouterr().err == "liteframe: error: file.yaml: field x is wrong; set it to 1\n"
    monkeypatch.setenv("LITEFRAME_DEBUG", "1")
    with pytest.raises(ConfigError):
        cli.main(["failing"])


def test_a_child_runs_the_stage_and_not_the_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["liteframe", "pipeline", "tiny"])
    monkeypatch.setenv(cli.CHILD_ARGS, '["fit", "--config", "x.yaml"]')
    assert cli._process_args() == ["pipeline", "tiny"]
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert cli._process_args() == ["fit", "--config", "x.yaml"]


def test_doctor_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) in (0, 1)
    text = capsys.readouterr().out
    for word in ("python", "torch", "lightning", "cpu cores", "pyav", "configs"):
        assert word in text
    assert "float32 (measured: bfloat16 1.0 GFLOP/s, float32 2.0 GFLOP/s)" in text, "what conftest.py says"


def test_doctor_reads_a_video_and_says_what_is_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.main(["doctor"])
    text = capsys.readouterr().out
    assert "a clip that was written here" in text and "video can be read" not in text

    def scan_of_another_age(path: str, *_: object, **__: object) -> object:
        raise AttributeError("'VideoStream' object has no attribute\n'index_entries'")

    monkeypatch.setattr(read_video, "read_video", scan_of_another_age)
    assert cli.main(["doctor"]) == 1
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "no video can be read" in line)
    assert "AttributeError" in line and "'index_entries'" in line and "`av`" in line


class TestStages:
    """Stages run in this process, from a folder that has only the config."""

    @pytest.fixture(autouse=True)
    def other_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

    def result(self, folder: Path) -> dict[str, Any]:
        return dict(json.loads((folder / "result.json").read_text(encoding="utf-8")))

    def test_configs_merge_and_short_names_work(self, tmp_path: Path) -> None:
        write_toy_config(tmp_path)
        args = ["--config", "toy.yaml", "--config", "trainer/cpu.yaml", "--model", "ToyStage", "--trainer.max_steps=3"]
        assert cli.main(["fit", *args, "--trainer.default_root_dir=out"]) == 0
        out = tmp_path / "out"
        assert self.result(out)["first_step"] == 0
        assert (out / "config.yaml").is_file()
        assert list(out.glob("events.out.tfevents.*"))

    def test_predict_keeps_nothing_and_hands_on_estimate(self, tmp_path: Path) -> None:
        write_toy_config(tmp_path)
        args = ["predict", "--config=toy.yaml", f"--trainer.default_root_dir={tmp_path}"]
        assert cli.main(args) == 0
        assert self.result(tmp_path) == {"estimate": False, "kept": False}
        assert cli.main([*args, "--estimate"]) == 0
        assert self.result(tmp_path)["estimate"] is True

    def test_errors_stay_readable(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_toy_config(tmp_path, broken=True)
        assert cli.main(["fit", "--config", "toy.yaml", "--trainer.default_root_dir=out"]) == 1
        assert "liteframe: error: toy.yaml: field broken is true; set it to false\n" in capsys.readouterr().err
        assert cli.main(["fit", "--config", "toy.yaml", "--model.init_args.rte=1"]) == 2
        error = capsys.readouterr().err
        assert "rte" in error
        assert "Traceback" not in error
        assert cli.main(["fit", "--config", "nothing.yaml"]) == 1
        assert "config nothing.yaml: not here" in capsys.readouterr().err


def test_a_gpu_without_memory_enough_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    from liteframe.command.lightning_cli import StageCLI

    def fill(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB. GPU 0 has 1 GiB free.")

    monkeypatch.setattr(StageCLI, "__init__", fill)
    monkeypatch.chdir(tmp_path)
    write_toy_config(tmp_path)
    assert cli.main(["fit", "--config", "toy.yaml"]) == 1
    error = capsys.readouterr().err
    assert "not enough memory on the GPU (CUDA out of memory)" in error and "liteframe plan" in error


def fit_as_module(rank: int, folder: Path, args: list[str]) -> None:
    """Rank 0 of `python -m liteframe`, from another folder, of which Lightning starts rank 1 anew."""
    os.chdir(folder)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    run_command(args, forks_rank_1=False, spec=find_spec("liteframe.__main__"))


def test_a_ddp_child_finds_the_same_config(tmp_path: Path) -> None:
    write_toy_config(tmp_path)
    ddp = ["--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.max_steps=3"]
    args = ["fit", "--config", "toy.yaml", "--config", "trainer/cpu.yaml", *ddp, "--trainer.default_root_dir=out"]
    assert run_ranks(fit_as_module, 1, tmp_path, args) == [0]
    assert json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))["world"] == 2


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("http://127.0.0.1:9/x.ckpt", "checkpoints are not fetched"),
        ("folder", "distributed checkpoints are not read"),
        ("absent.ckpt", "no such file"),
        ("junk.ckpt", "junk.ckpt: damaged"),
        ("other.ckpt", "other.ckpt: does not fit this run (RuntimeError: Error(s) in loading state_dict for Toy"),
        ("weights.ckpt", "weights.ckpt: does not fit this run (KeyError"),
    ],
)
def test_a_checkpoint_that_cannot_be_gone_on_from_is_one_line(
    place: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / ".metadata").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    (tmp_path / "junk.ckpt").write_bytes(b"junk")
    other = {"state_dict": {}, "pytorch-lightning_version": "2.6.6", "global_step": 3, "epoch": 0}
    torch.save(other, "other.ckpt")
    torch.save({**other, "state_dict": {"weight": torch.zeros(4)}}, "weights.ckpt")
    write_toy_config(tmp_path)
    args = ["--trainer.default_root_dir=run", "--trainer.callbacks=null", f"--ckpt_path={place}"]
    assert cli.main(["fit", "--config", "toy.yaml", *args]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("liteframe: error: ") and said in error
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_does_not_choose_the_class_of_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil_stage.py").write_text("open('ran', 'w')", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    write_toy_config(tmp_path)
    torch.save({"state_dict": {}, "hyper_parameters": {"_class_path": "evil_stage.Stage"}}, "evil.ckpt")
    assert cli.main(["fit", "--config", "toy.yaml", "--trainer.default_root_dir=run", "--ckpt_path=evil.ckpt"]) == 1
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(find_spec("mlflow") is not None, reason="a package that is there is no error")
@pytest.mark.parametrize("several", [False, True])
def test_a_logger_without_its_package_is_one_line(
    several: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_toy_config(tmp_path)
    of_csv = {"class_path": "CSVLogger", "init_args": {"save_dir": "run"}}
    loggers = [of_csv, {"class_path": "MLFlowLogger"}] if several else {"class_path": "MLFlowLogger"}
    (tmp_path / "loggers.yaml").write_text(json.dumps({"trainer": {"logger": loggers}}), encoding="utf-8")
    assert cli.main(["fit", "--config=toy.yaml", "--config=loggers.yaml", "--trainer.default_root_dir=run"]) == 1
    (error,) = capsys.readouterr().err.strip().splitlines()
    assert error.startswith("liteframe: error: ") and "mlflow>=1.0.0" in error and len(error) < 900


def test_what_a_file_is_called_does_not_repaint_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "dispatch", lambda args: (_ for _ in ()).throw(ConfigError("a\x1b[2Jb\n  of two lines")))
        assert cli.main(["doctor"]) == 1
    assert capsys.readouterr().err == "liteframe: error: a\\x1b[2Jb of two lines\n"


@pytest.mark.parametrize(("name", "said"), [("val/loss", False), ("test/accuracy/all", False), ("train/mine", True)])
def test_means_that_are_of_all_ranks_already_are_not_warned_about(
    name: str, said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from lightning.pytorch.trainer.connectors.logger_connector import result

    from liteframe.command.library_warnings import quieten

    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patched:
        warnings.simplefilter("always")
        quieten()
        patched.setattr(result, "_distributed_is_initialized", lambda: True)
        result.warning_cache.clear()
        results = result._ResultCollection(training=False)
        results.log("validation_step", name, torch.tensor(1.0), on_step=False, on_epoch=True, batch_size=1)
        results.metrics(on_step=False)
    assert ("sync_dist" in capsys.readouterr().err) == said
