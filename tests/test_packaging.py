"""Wheel and sdist are whole, versions come from tags, pins fit every Python, and hints name what can be installed."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from liteframe.system.installation import DISTRIBUTION, install_hint

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
FILES_NAME = DISTRIBUTION.replace("-", "_")
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
needs_backend = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("hatchling", "hatch_vcs")), reason="no hatchling or hatch-vcs"
)


@cache
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def build_wheel(source: Path, folder: Path) -> Path:
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "-q"]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, "-w", str(folder), str(source)], check=True)
    (built,) = folder.glob(f"{FILES_NAME}-*.whl")
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("dist"))


def version_of(wheel: Path) -> str:
    return wheel.name.split("-")[1]


@needs_backend
def test_the_wheel_carries_code_configs_and_licence(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src" / "liteframe").rglob("*.py")}
    configs = {f"liteframe/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "configs").rglob("*.yaml")}
    tasks = {f"liteframe/lmms_eval/tasks/liteframe_{name}.yaml" for name in ("hlvid", "tiny_world")}
    data = {f"liteframe/{name}" for name in ("py.typed", "bench/methods.toml", "evaluation/prompts/prompts.toml")}
    assert modules | configs | tasks | data <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if not name.startswith(("liteframe/", f"{FILES_NAME}-"))]


@needs_backend
def test_the_metadata_names_distribution_and_command(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    info = f"{FILES_NAME}-{version_of(wheel)}.dist-info"
    metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
    assert metadata["Name"] == DISTRIBUTION
    assert metadata["Version"] == version_of(wheel)
    assert metadata["License-Expression"] == "Apache-2.0"
    entry_points = archive.read(f"{info}/entry_points.txt").decode()
    assert "liteframe = liteframe.command.cli:main" in entry_points
    assert "[lmms_eval.models]\nliteframe = liteframe.lmms_eval.manifest:manifest" in entry_points
    assert "[vllm.general_plugins]\nliteframe = liteframe.vllm.plugin:register" in entry_points


@needs_backend
def test_what_is_installed_finds_its_configs_and_its_version(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        "import liteframe; from liteframe.command.configs import find_config\n"
        "print(find_config('trainer/cpu.yaml'), liteframe.__version__, sep='\\n')"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    config, version = run.stdout.split()
    assert Path(config) == (site / "liteframe" / "configs" / "trainer" / "cpu.yaml").resolve()
    assert version == version_of(wheel)


@needs_backend
def test_the_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (sdist,) = tmp_path.glob("*.tar.gz")
    shutil.unpack_archive(sdist, tmp_path, filter="data" if hasattr(tarfile, "data_filter") else None)
    again = build_wheel(tmp_path / sdist.name.removesuffix(".tar.gz"), tmp_path / "again")
    assert again.name == wheel.name
    assert contents(again) == contents(wheel)


def contents(wheel: Path) -> dict[str, bytes]:
    archive = zipfile.ZipFile(wheel)
    return {name: archive.read(name) for name in archive.namelist()}


@needs_backend
def test_the_version_is_that_of_the_tag(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    fallback = project_version(tmp_path)
    assert fallback.is_devrelease  # an archive without git and without PKG-INFO still builds
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"]

    def git(*words: str) -> None:
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    git("add", ".")
    git("commit", "-m", "one")
    assert project_version(tmp_path).release == fallback.release and project_version(tmp_path).is_devrelease
    git("tag", "v7.8.9")
    assert project_version(tmp_path) == Version("7.8.9")
    git("commit", "--allow-empty", "-m", "two")
    after = project_version(tmp_path)
    assert after > Version("7.8.9") and after.is_devrelease and after.local is None


def project_version(folder: Path) -> Version:
    run = subprocess.run(
        [sys.executable, "-m", "hatchling", "version"], cwd=folder, capture_output=True, text=True, check=True
    )
    return Version(run.stdout.strip())


@pytest.mark.parametrize("python", PYTHONS)
def test_each_dependency_has_one_pin_in_its_range(python: str) -> None:
    environment = {"python_version": python, "python_full_version": f"{python}.0"}

    def here(lines: list[str]) -> Iterator[Requirement]:
        for requirement in map(Requirement, lines):
            if requirement.marker is None or requirement.marker.evaluate(environment):
                yield requirement

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins: dict[str, str] = {}
    for pin in here([line for line in lines if line and not line.startswith("#")]):
        assert pin.name not in pins, pin
        pins[pin.name] = str(pin.specifier).removeprefix("==")
    needed = list(here(project()["dependencies"]))
    assert {requirement.name for requirement in needed} <= pins.keys()
    extras = project()["optional-dependencies"].items()
    optional = [each for extra, lines in extras for each in here(lines) if extra != "lmms-eval"]  # has pins of its own
    wanted = needed + optional
    outside = [each for each in wanted if each.name in pins and not each.specifier.contains(pins[each.name])]
    assert outside == []


@pytest.mark.parametrize(
    ("system", "machine", "package"),
    [
        ("linux", "x86_64", "decord"),
        ("win32", "AMD64", "decord"),
        ("linux", "aarch64", "decord2"),
        ("darwin", "arm64", "decord2"),
        ("darwin", "x86_64", None),
    ],
)
def test_decord_where_it_has_a_wheel_and_decord2_where_that_has(system: str, machine: str, package: str | None) -> None:
    environment = {"sys_platform": system, "platform_machine": machine, "python_version": "3.13"}
    needed = [each for each in map(Requirement, project()["dependencies"]) if each.name.startswith("decord")]
    assert [each.name for each in needed if each.marker and each.marker.evaluate(environment)] == (
        [package] if package else []
    )


SOURCES = {
    path: text
    for path in sorted((ROOT / "src").rglob("*.py"))
    if "install" in (text := path.read_text(encoding="utf-8")) or "require(" in text
}
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
_HINT = re.compile(
    r"pip install\s+(?:-c\s+\S+\s+|(?!-c\b)-{1,2}[\w-]+\s+)*['\"]?(?![\w.-]*[/*])([\w{][\w.{}-]*)(?:\[([\w,-]+)\])?"
)


def hints_in(text: str) -> list[str]:
    """What a text says to install that is neither this distribution with extras that it has, nor a dependency."""
    lists = [project()["dependencies"], *project()["optional-dependencies"].values()]
    others = {Requirement(each).name for requirements in lists for each in requirements}
    wrong = re.findall(r"(?<![\w.-])liteframe\[", text)
    for name, extras in _HINT.findall(text):
        known = set(extras.split(",")) <= project()["optional-dependencies"].keys() if extras else True
        if not (known and name == DISTRIBUTION) and (extras or name not in others):
            wrong.append(f"{name}[{extras}]" if extras else name)
    return wrong


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_name_the_distribution(path: Path) -> None:
    assert hints_in(path.read_text(encoding="utf-8")) == []


def test_code_derives_hints_from_the_one_name() -> None:
    for path, text in SOURCES.items():
        tree = ast.parse(text)
        assert [wrong for docstring in docstrings(tree) for wrong in hints_in(docstring)] == [], path
        assert [
            said for said in strings(tree) if re.search(r"liteframe\[|liteframe-video\[|pip install '?lite", said)
        ] == [], path


def docstrings(tree: ast.Module) -> list[str]:
    """Also those below attributes."""
    alone = [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]
    return [node.value for node in alone if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def strings(tree: ast.Module) -> list[str]:
    """All texts but docstrings; the parts of a formatted one by themselves."""
    alone = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and node not in alone]
    return [node.value for node in constants if isinstance(node.value, str)]


def test_hints_name_extras_that_there_are() -> None:
    asked: set[str] = set()
    for text in SOURCES.values():
        asked |= set(re.findall(r"install_hint\([\"']([\w-]+)[\"']\)", text))
        asked |= set(re.findall(r"\brequire\(\"\w+\", \"([\w-]+)\"\)", text))
    assert {"onnx", "openvino", "openvino-export", "parquet", "torchcodec"} <= asked
    assert asked <= project()["optional-dependencies"].keys()
    assert install_hint("onnx") == "pip install 'liteframe-video[onnx]'"
    assert project()["name"] == DISTRIBUTION


@pytest.mark.parametrize(
    "text",
    [
        "liteframe[onnx]",
        "pip install liteframe",
        "pip install -U 'liteframe-video[onyx]'",
        "pip install decrod",
        "pip install -c a.txt liteframe",
    ],
)
def test_the_law_of_hints_sees_a_breach(text: str) -> None:
    assert hints_in(text)
    assert not hints_in(
        f"`pip install {DISTRIBUTION}`, `pip install av`, `pip install\n'{DISTRIBUTION}[onnx,parquet]'`"
    )
    assert not hints_in("`pip install -c constraints.txt dist/*.whl`, `pip install -c constraints.txt -e '.[test]'`")
