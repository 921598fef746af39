"""Configs of run folders and recipes of others choose code by known names; nothing else they name is imported."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import jsonargparse
import pytest
import yaml

from liteframe.command import cli, code_names
from liteframe.command.code_names import KNOWN, Names, is_known, split_flag, words_of_a_recipe
from liteframe.command.configs import find_config, shipped_configs
from liteframe.command.import_policy import parse_by_trust
from liteframe.errors import ConfigError
from liteframe.pipeline.recipe import read_recipe
from liteframe.stages.ctd import CTDStage

HEADER = "# lightning.pytorch==2.6.6\n"


@pytest.fixture(autouse=True)
def payload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that leaves a file behind when it is imported, and the parser's settings as they were."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    settings = dict(jsonargparse._common.parsing_settings)  # type: ignore[attr-defined]
    monkeypatch.setattr("liteframe.command.import_policy._closed", False)
    monkeypatch.setattr("liteframe.command.import_policy._opened", set())
    lines = ["import pathlib", f"pathlib.Path({str(tmp_path / 'ran')!r}).touch()", "def run(*args): pass"]
    lines += ["from liteframe.stages.ctd import CTDStage", "class Stage(CTDStage): pass"]
    (tmp_path / "payload.py").write_text("\n".join(lines))
    yield "payload"
    sys.modules.pop("payload", None)
    jsonargparse._common.parsing_settings.clear()  # type: ignore[attr-defined]
    jsonargparse._common.parsing_settings.update(settings)  # type: ignore[attr-defined]


def run_config(folder: Path, content: Any, header: str = HEADER, name: str = "config.yaml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(header + (content if isinstance(content, str) else yaml.safe_dump(content)))
    return path


MODEL: dict[str, Any] = {"class_path": "payload.Stage"}
KNOWN_MODEL: dict[str, Any] = {"class_path": "liteframe.stages.ctd.CTDStage"}
CONFIGS: dict[str, Any] = {
    "model": {"model": MODEL},
    "data": {"data": {"class_path": "payload.Data"}},
    "short": {"model": {"class_path": "SomeStage"}},
    "dotted key": {"model.class_path": "payload.Stage"},
    "text": {"model": "payload.Stage"},
    "yaml in a text": {"model": json.dumps(MODEL)},
    "callbacks": {"trainer": {"callbacks": [{"class_path": "payload.Callback"}]}},
    "callback's text": {"trainer": {"callbacks": ["payload.run"]}},
    "lambda": {"trainer": {"callbacks": [{"class_path": "LambdaCallback", "init_args": {"on_fit_start": "os.abort"}}]}},
    "lambda as a text": {"trainer": {"callbacks": ["lightning.pytorch.callbacks.LambdaCallback"]}},
    "decoder": {"data": {"init_args": {"decoder": "payload:run"}}},
    "standard library": {"data": {"init_args": {"decoder": "shutil:rmtree"}}},
    "deep": {"model": {**KNOWN_MODEL, "init_args": {"teacher": {"class_path": "payload.Teacher"}}}},
    "hook": {"trainer": {"strategy": {"class_path": "DDPStrategy", "init_args": {"ddp_comm_hook": "payload.run"}}}},
    "in any dict": {"model": {**KNOWN_MODEL, "init_args": {"encoder": {"x": {"class_path": "payload.Stage"}}}}},
    "alias": "x: &a payload.Stage\nmodel: {class_path: *a}\n",
    "merge": "x: &a {class_path: payload.Stage}\nmodel: {<<: *a}\n",
    "re-export": {"model": {"class_path": "liteframe.stages.lma.os.system"}},
}


@pytest.mark.parametrize("content", CONFIGS.values(), ids=CONFIGS.keys())
def test_a_run_folder_names_no_foreign_code(content: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run_config(tmp_path / "run", content)
    assert cli.main(["fit", "--config", str(path)]) == 1
    assert "--allow-code" in (said := capsys.readouterr().err) and str(path) in said and said.count("\n") == 1
    assert not (tmp_path / "ran").exists()


WAYS: dict[str, Callable[[Path], list[str]]] = {
    "equals": lambda path: [f"--config={path}"],
    "short": lambda path: ["-c", str(path)],
    "abbreviated": lambda path: ["--conf", str(path)],
    "after one of the user's": lambda path: ["--config", "trainer/cpu.yaml", "--config", str(path)],
    "model": lambda path: ["--model", str(run_config(path.parent, MODEL, name="m.yaml"))],
    "callbacks": lambda path: [f"--trainer.callbacks+={run_config(path.parent, MODEL, name='c.yaml')}"],
    "named by the user's": lambda path: ["--config", str(run_config(path.parents[1], {"model": "run/m.yaml"}, ""))],
    "relative to the user's": lambda path: [
        *("--config", str(run_config(path.parents[1] / "mine", {"model": "../run/m.yaml"}, "", "my.yaml")))
    ],
    "without a suffix": lambda path: ["--config", str(run_config(path.parent, {"model": MODEL}, name="config"))],
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_every_way_to_a_run_folder_is_seen(way: Callable[[Path], list[str]], tmp_path: Path) -> None:
    path = run_config(tmp_path / "run", {"model": MODEL})
    run_config(tmp_path / "run", MODEL, name="m.yaml")
    with pytest.raises(ConfigError, match="--allow-code"):
        Names.of(way(path))


@pytest.mark.parametrize("beside", ["checkpoints/", "export/", "done.json"])
def test_a_run_folder_is_known_by_its_place_too(beside: str, tmp_path: Path) -> None:
    path = run_config(tmp_path / "run", {"model": MODEL}, header="")
    Names.of(["--config", str(path)])
    (tmp_path / "run" / beside).mkdir() if beside.endswith("/") else (tmp_path / "run" / beside).touch()
    linked = tmp_path / "mine.yaml"
    linked.symlink_to(path)
    for name in (path, linked):
        with pytest.raises(ConfigError, match=r"model\.class_path names 'payload.Stage'"):
            Names.of(["--config", str(name)])


def parser() -> jsonargparse.ArgumentParser:
    made = jsonargparse.ArgumentParser(exit_on_error=False)
    made.add_argument("--config", action="config")
    made.add_subclass_arguments(CTDStage, "model")
    made.add_argument("--hook", type=Callable)
    made.add_argument("--anything", type=Any)
    made.add_argument("--decoder", type=str)
    return made


def test_what_the_user_writes_may_name_anything(tmp_path: Path) -> None:
    path = run_config(tmp_path, {"model": MODEL}, header="", name="mine.yaml")
    assert parse_by_trust(parser().parse_args, ["--config", str(path)]).model.class_path == "payload.Stage"
    assert (tmp_path / "ran").exists()


def test_the_flag_allows_it(tmp_path: Path) -> None:
    path = run_config(tmp_path / "run", {"model": MODEL})
    words = ["--config", str(path), "--allow-code"]
    assert parse_by_trust(parser().parse_args, words).model.class_path == "payload.Stage"


def test_the_parser_itself_imports_nothing_that_the_texts_hid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_names, "require_known", lambda *args: None)
    run = run_config(tmp_path / "run", {"model": KNOWN_MODEL})
    for hidden in (["--model=payload.Stage"], ["--hook", "payload.run"], [f"--anything={json.dumps(MODEL)}"]):
        (tmp_path / "run" / "more.yaml").write_text(HEADER + yaml.safe_dump({hidden[0].strip("-"): "x"}))
        with words_of_a_recipe(foreign=True):
            try:
                parse_by_trust(parser().parse_args, ["--config", str(run), *hidden])
            except jsonargparse.ArgumentError as error:
                assert "not allowed" in str(error)
        assert not (tmp_path / "ran").exists(), hidden
    with words_of_a_recipe(foreign=True), pytest.raises(ConfigError, match="'payload:run'"):
        parse_by_trust(parser().parse_args, ["--decoder", "payload:run"])
    # What the user names beside a run's config is open, and what was open once is shut for the next.
    words = ["--config", str(run), "--model", "payload.Stage"]
    assert parse_by_trust(parser().parse_args, words).model.class_path == "payload.Stage"
    with words_of_a_recipe(foreign=True), pytest.raises(jsonargparse.ArgumentError, match="not allowed"):
        parse_by_trust(parser().parse_args, words)


def test_known_names_go_through(tmp_path: Path) -> None:
    path = run_config(tmp_path / "run", {"model": KNOWN_MODEL})
    assert parse_by_trust(parser().parse_args, ["--config", str(path)]).model.class_path == KNOWN_MODEL["class_path"]
    for config in [*shipped_configs().rglob("*.yaml")]:
        if config.parent.name != "recipes":
            copy = run_config(tmp_path / "copies", config.read_text(), name=config.name)
            assert Names.of(["--config", str(copy)]).foreign


def test_known_names_are_classes_that_are_there() -> None:
    for package, classes in KNOWN.items():
        for name in classes:
            assert inspect.isclass(getattr(import_module(package), name)), name
            assert is_known(name) and is_known(f"{package}.{name}")
    for name in (
        "LambdaCallback",
        "os.CTDStage",
        "liteframe.command.cli.main",
        "lightning.pytorch.callbacks.LambdaCallback",
    ):
        assert not is_known(name)


STAGES: dict[str, dict[str, Any]] = {
    "config": {"verb": "fit", "config": "evil.yaml"},
    "args": {"verb": "fit", "args": ["--model=payload.Stage"]},
    "args in two": {"verb": "fit", "args": ["--model.class_path", "payload.Stage"]},
    "yaml": {"verb": "fit", "args": [f"--model={json.dumps(MODEL)}"]},
    "config in args": {"verb": "fit", "args": ["--config", "evil.yaml"]},
    "decoder": {"verb": "fit", "args": ["--data.init_args.decoder=payload:run"]},
    "flag": {"verb": "fit", "args": ["--allow-code"]},
    "flag, abbreviated": {"verb": "pipeline", "args": ["evil", "--allow"]},
    "another verb": {"verb": "check", "args": ["x", "--decoder", "payload:run"]},
}


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES.keys())
def test_a_recipe_of_others_names_no_foreign_code(stage: dict[str, Any], tmp_path: Path) -> None:
    run_config(tmp_path, {"model": MODEL}, header="", name="evil.yaml")
    path = run_config(tmp_path, {"stages": [{"name": "first", **stage}]}, header="", name="recipe.yaml")
    with pytest.raises(ConfigError, match=r"recipe\.yaml: stage first: .*(--allow-code|command line alone)"):
        read_recipe(str(path))
    assert read_recipe(str(path), allow_code=True).allow_code
    assert not (tmp_path / "ran").exists()


def test_shipped_recipes_are_trusted_and_the_words_of_others_are_not() -> None:
    assert not read_recipe("tiny").foreign
    assert split_flag(["--allow-code", "--x"]) == (["--x"], True)
    with words_of_a_recipe(foreign=True), pytest.raises(ConfigError, match="stands in a recipe"):
        split_flag(["--allow-code"])


def test_endless_yaml_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bomb = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{','.join(9 * [f'*a{i - 1}'])}]\n" for i in range(1, 12))
    for name, text in {"bomb": bomb, "deep": "[" * 500, "itself": "a: &a [*a]\n"}.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        assert cli.main(["fit", "--config", str(path)]) == 1
        with pytest.raises(ConfigError, match=name):
            read_recipe(str(path))
    assert capsys.readouterr().err.count("\n") == 3


@pytest.mark.parametrize("name", ["(" * 5000, "./.", "a\ud800", "a\0b", ""])
def test_what_is_no_name_of_a_file_is_none(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        find_config(name or "no_such_config")
    path = run_config(tmp_path / "run", {"data": {"init_args": {"train": name, "decoder": "pyav"}}})
    assert Names.of(["--config", str(path)]).foreign


def test_an_address_that_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def parse(words: list[str]) -> None:
        raise ImportError("Install s3fs to access S3")

    path = run_config(tmp_path / "run", {"trainer": {"callbacks": "s3://no/x"}})
    with pytest.raises(ConfigError, match=r"config\.yaml: Install s3fs"):
        parse_by_trust(parse, ["--config", str(path)])


def test_outputs_of_a_recipe_lie_in_its_run(tmp_path: Path) -> None:
    for output in ("/etc/passwd", "../../x", "a\0b"):
        stages = [{"name": "first", "verb": "synth", "outputs": [output]}]
        path = run_config(tmp_path, {"stages": stages}, header="", name="recipe.yaml")
        with pytest.raises(ConfigError, match=r"recipe\.yaml: stage first: `outputs`"):
            read_recipe(str(path))


@pytest.mark.parametrize("name", ["config.YAML", "config.conf", "config.txt", "config.mp4"])
def test_a_config_of_a_run_is_one_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / name).write_text("model: {class_path: os.system}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="names 'os.system', code that a run folder"):
        Names.of(["--config", str(tmp_path / name)])
    assert Names.of(["--config", str(tmp_path / name)], allow_code=True).allow_code


def test_every_shipped_config_may_lie_in_a_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verbs = {"cache.yaml": "predict", "eval.yaml": "test"}
    for path in sorted(shipped_configs().rglob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if "model" in content:
            copy = run_config(tmp_path / "run", path.read_text(encoding="utf-8"))
            verb = verbs.get(path.name, "fit")
            assert cli.main([verb, "--config", str(copy), "--print_config"]) == 0, f"{path}: {capsys.readouterr().err}"
            kept = run_config(tmp_path / "kept", capsys.readouterr().out)  # with the names that a run writes down
            code, said = cli.main([verb, "--config", str(kept), "--print_config"]), capsys.readouterr().err
            assert code == 0, f"{path}: {said}"
