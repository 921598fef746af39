"""The wheel is whole: code, configs, types marker, command."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import liteframe

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed")
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("not a checkout")
    folder = tmp_path_factory.mktemp("dist")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "-q"]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, "-w", str(folder), str(ROOT)], check=True)
    (built,) = folder.glob("liteframe-*.whl")
    return built


def test_the_wheel_carries_code_configs_and_licence(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src" / "liteframe").rglob("*.py")}
    configs = {f"liteframe/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "configs").rglob("*.yaml")}
    tasks = {f"liteframe/lmms_eval/tasks/liteframe_{name}.yaml" for name in ("hlvid", "tiny_world")}
    data = {f"liteframe/{name}" for name in ("py.typed", "bench/methods.toml", "evaluation/prompts/prompts.toml")}
    assert modules | configs | tasks | data <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if not name.startswith(("liteframe/", "liteframe-"))]


def test_the_metadata_names_command_and_version(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    info = f"liteframe-{liteframe.__version__}.dist-info"
    metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
    assert metadata["Version"] == liteframe.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    entry_points = archive.read(f"{info}/entry_points.txt").decode()
    assert "liteframe = liteframe.command.cli:main" in entry_points
    assert "[lmms_eval.models]\nliteframe = liteframe.lmms_eval.manifest:manifest" in entry_points
    assert "[vllm.general_plugins]\nliteframe = liteframe.vllm.plugin:register" in entry_points


def test_configs_are_found_inside_the_wheel(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = "from liteframe.command.configs import find_config; print(find_config('trainer/cpu.yaml'))"
    environment = {**os.environ, "PYTHONPATH": str(site)}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert Path(run.stdout.strip()) == (site / "liteframe" / "configs" / "trainer" / "cpu.yaml").resolve()


def test_constraints_fit_the_ranges() -> None:
    from packaging.requirements import Requirement

    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    quoted = [line.strip().strip(",").strip('"') for line in lines if line.startswith('    "') and ">=" in line]
    ranges = {requirement.name: requirement.specifier for requirement in map(Requirement, quoted)}
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in pins if line and not line.startswith("#"))
    assert ranges.keys() <= pinned.keys()
    assert [name for name, specifier in ranges.items() if not specifier.contains(pinned[name])] == []
