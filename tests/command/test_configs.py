"""Configs are found by name from anywhere, and every shipped one parses."""

from __future__ import annotations

from pathlib import Path

import pytest

from liteframe.command.configs import find_config, resolve_config_args, shipped_configs
from liteframe.errors import ConfigError

SHIPPED = sorted(path.relative_to(shipped_configs()).as_posix() for path in shipped_configs().rglob("*.yaml"))
RECIPES = [name for name in SHIPPED if name.startswith("recipes/")]
PREDICTS = {"cache.yaml", "tiny/cache.yaml"}


def test_a_shipped_config_is_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config("trainer/cpu.yaml") == shipped_configs() / "trainer" / "cpu.yaml"
    assert find_config("trainer/cpu") == shipped_configs() / "trainer" / "cpu.yaml"


def test_a_file_in_reach_comes_before_a_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "trainer" / "cpu.yaml"
    own.parent.mkdir()
    own.write_text("trainer: {}\n", encoding="utf-8")
    assert find_config("trainer/cpu.yaml") == own
    assert find_config(str(own)) == own


def test_an_unknown_name_lists_near_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"gpu9\.yaml.*trainer/gpu1\.yaml or trainer/gpu8\.yaml"):
        find_config("gpu9.yaml")
    with pytest.raises(ConfigError, match=r"shipped are: .*trainer/cpu\.yaml"):
        find_config("zzzzzz.yaml")


def test_config_arguments_become_paths() -> None:
    cpu = str(shipped_configs() / "trainer" / "cpu.yaml")
    args = ["--config", "trainer/cpu", "--config=trainer/cpu.yaml", "-c", "trainer/cpu", "-c=trainer/cpu"]
    assert resolve_config_args(args) == ["--config", cpu, f"--config={cpu}", "-c", cpu, f"-c={cpu}"]
    untouched = ["--trainer.max_steps", "3", "--config", "s3://bucket/ctd.yaml", "--model.init_args.config=trainer/cpu"]
    assert resolve_config_args(untouched) == untouched


@pytest.mark.parametrize(("text", "says"), [("model: {encoder: [", "not YAML"), ("- model", "holds a list")])
def test_a_file_that_is_no_config_is_named(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=rf"mine\.yaml: {says}"):
        resolve_config_args(["--config", str(tmp_path / "mine.yaml")])


BEHIND_CTD = ("ablations/ctd_", "students/")


@pytest.mark.parametrize("name", [name for name in SHIPPED if name not in RECIPES])
def test_every_config_parses(name: str, tmp_path: Path) -> None:
    args = resolve_config_args([*(["--config", "ctd.yaml"] if name.startswith(BEHIND_CTD) else []), "--config", name])
    if name.startswith("trainer/"):
        from toy_stage import write_toy_config

        args = ["--config", str(write_toy_config(tmp_path)), *args]
    parse("predict" if name in PREDICTS else "fit", args)


@pytest.mark.parametrize("name", RECIPES)
def test_every_stage_of_a_recipe_parses(name: str) -> None:
    from liteframe.command.cli import FUNCTION_VERBS, STAGE_VERBS
    from liteframe.pipeline.recipe import read_recipe

    for stage in read_recipe(str(shipped_configs() / name)).stages:
        if stage.verb in STAGE_VERBS:
            words = [word for config in stage.config for word in ("--config", config)]
            parse(stage.verb, resolve_config_args([*words, *(stage.fill(word, Path("run"), 1) for word in stage.args)]))
        else:
            assert stage.verb in FUNCTION_VERBS


def parse(verb: str, args: list[str]) -> None:
    """Parses as the command does, without building anything."""
    from liteframe.command.lightning_cli import StageCLI, import_stages

    class ParseOnly(StageCLI):
        def instantiate_classes(self) -> None:
            pass

        def _run_subcommand(self, subcommand: str) -> None:
            pass

    import_stages()
    config = ParseOnly(verb, args).config[verb]
    assert config.model is not None
    assert config.data is not None
