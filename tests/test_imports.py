"""Imports point down, and looking at the package costs nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import liteframe
from liteframe.command.cli import FUNCTION_VERBS

PACKAGE = Path(liteframe.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
SUBROOMS = {"bench.paper": 4, "command.configs": 0}
"""Higher or lower than the room that they are in: the one runs recipes, the other finds files."""
LEVELS = {"ops": 1, "models": 2, "data": 2, "stages": 3, "evaluation": 3, "tiny": 3, "bench": 3, "hf": 3}
GROUND = {"__init__", "errors", "system"}
ROOMS = {
    "data": [
        *("sampling", "limits", "transforms", "remote", "decoding", "sources", "store", "checking", "loading"),
        "datamodule",
    ],
    "data.decoding": [
        *(
            "heartbeat",
            "memory",
            "video_file",
            "frame_resize",
            "frame_sink",
            "transparency",
            "pictures",
            "orientation",
            "ffmpeg_log",
            "read_settings",
        ),
        *("containers", "pyav_versions", "bitstream", "pyav", "picture_trust", "decord_trust", "decord_reader"),
        *("torchcodec_reader", "decode", "processes", "live", "read_video"),
    ],
    "models": [
        *(
            "finite",
            "flop_count",
            "gradient_checkpointing",
            "clip_chunks",
            "acceleration",
            "folders",
            "backbone",
            "teachers",
            "student",
            "video_llm",
            "rivals",
        ),
    ],
}
"""Inside a package: a room imports from those before it alone."""
HEAVY = {"torch", "lightning", "transformers", "timm", "peft", "torchvision", "decord", "av", "matplotlib", "numpy"}


def level(module: str) -> int:
    """0 is the ground that all may stand on, 4 the command and the pipeline."""
    parts = module.split(".")
    if len(parts) < 2 or parts[1] in GROUND or parts[1] in liteframe.__all__:
        return 0
    return SUBROOMS.get(".".join(parts[1:3]), LEVELS.get(parts[1], 4))


def module_name(path: Path) -> str:
    return ".".join(("liteframe", *path.relative_to(PACKAGE).with_suffix("").parts))


def imported(path: Path) -> set[str]:
    """The modules of liteframe that a file imports, those inside its functions too."""
    return imported_by(ast.parse(path.read_text(encoding="utf-8")), path)


def imported_by(tree: ast.AST, path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import in line {node.lineno}"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] == "liteframe"}


@pytest.mark.parametrize("path", FILES, ids=[module_name(path) for path in FILES])
def test_imports_point_down(path: Path) -> None:
    own = level(module_name(path))
    assert [name for name in imported(path) if level(name) > own] == []


def runs_imports(path: Path) -> set[str]:
    """Those that are carried out, without those for type checkers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    return imported_by(tree, path)


@pytest.mark.parametrize("package", ROOMS)
def test_rooms_have_an_order(package: str) -> None:
    prefix, order = f"liteframe.{package}.", ROOMS[package]
    folder = PACKAGE.joinpath(*package.split("."))
    there = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert there == {*order, "__init__"}
    for path in sorted(folder.rglob("*.py")):
        name = module_name(path)
        if name == f"{prefix}__init__":
            continue
        own = order.index(name.removeprefix(prefix).split(".")[0])
        seen = {other.removeprefix(prefix).split(".")[0] for other in runs_imports(path) if other.startswith(prefix)}
        assert {room for room in seen if order.index(room) > own} == set(), name


def test_the_law_sees_a_breach(tmp_path: Path) -> None:
    file = tmp_path / "bad.py"
    file.write_text("def f():\n    from liteframe.stages.ctd import CTDStage\n    import liteframe.command.cli\n")
    assert {level(name) for name in imported(file)} == {3, 4}


def test_reports_stay_outside() -> None:
    """What draws and tells is in `benchmarks/report`; of what measures, a run's own page draws its one picture."""
    roots = {path: {name.split(".")[0] for name in _imports(path)} for path in FILES}
    assert [path for path, names in roots.items() if names & {"report", "pandas", "scipy"}] == []
    drawing = [
        path.name for path, names in roots.items() if "matplotlib" in names and path.is_relative_to(PACKAGE / "bench")
    ]
    assert drawing == ["run_page.py"]


def _imports(path: Path) -> list[str]:
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    named = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return named + [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)]


@pytest.mark.parametrize(
    "module", ["liteframe", "liteframe.command.cli", "liteframe.command.configs", "liteframe.pipeline.recipe"]
)
def test_import_is_cheap(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


LIGHT_WORDS = [
    *([verb, "--help"] for verb in FUNCTION_VERBS),
    *([verb, "--mistyped", "1"] for verb in FUNCTION_VERBS),
    ["synth", "world", "--seed", "many"],
    ["fti"],
    ["fit", "--config", "nowhere.yaml"],
    ["fit", "--config", __file__],
    ["plan", "--config", "nowhere.yaml"],
    ["rehearse", "--config", "nowhere.yaml"],
    ["export", "nowhere", "out"],
    ["bench", "nowhere"],
    ["saliency", "nowhere"],
    ["latency", "--device", "abacus"],
    ["evaluate", "model", "--benchmark", "nowhere", "--data", "data"],
    ["chat", "/no/such/model", __file__, "why?"],
    ["chat", ".", "nowhere.mp4", "why?"],
    ["serve", "/no/such/model"],
    ["demo", "/no/such/model"],
]
"""What a verb answers before it loads what it works with."""


def test_help_and_errors_are_cheap(tmp_path: Path) -> None:
    code = (
        "import io, sys, contextlib\n"
        "from liteframe.command.cli import main\n"
        f"for words in {LIGHT_WORDS!r}:\n"
        "    said = io.StringIO()\n"
        "    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):\n"
        "        code = main(words)\n"
        "    assert said.getvalue() and (code == 0) == (words[-1] == '--help'), (words, code, said.getvalue())\n"
        "    assert 'Traceback' not in said.getvalue(), said.getvalue()\n"
        "    loaded = {'torch', 'torchvision', 'transformers', 'lightning', 'timm', 'peft'} & set(sys.modules)\n"
        "    assert not loaded, (words, loaded)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_public_names_resolve() -> None:
    for name in liteframe.__all__:
        assert getattr(liteframe, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = liteframe.no_such_name
