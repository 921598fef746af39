"""Decode processes run no module that lies beside the videos, and find the user's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from painted_videos import write_video

import liteframe
from liteframe.data.decoding.processes.imports import folders_of, import_path

PACKAGE = str(Path(liteframe.__file__).resolve().parents[1])
MARK = "ran.txt"
TRAP = f"import os, pathlib\npathlib.Path({{folder!r}}, {MARK!r}).open('a').write(__name__ + ' ')\nraise ImportError\n"
OWN = """
from liteframe.data.decoding.processes.job import decode
from liteframe.data.sampling import UniformMidpoints

class Own(UniformMidpoints):
    pass

def read(path, job):
    video = decode(job, "pyav")
    video.decode_s = 4321.0
    return video
"""
POOL = """
import sys
from liteframe.data.decoding.processes.pool import DecodeJob, DecodePool
from liteframe.data.sampling import UniformMidpoints
decoder, sampler = sys.argv[1:3]
if sampler:
    sys.path.append(".")
    from own import Own as UniformMidpoints
with DecodePool(deadline_s=60, decoder=decoder) as pool:
    (video,) = pool.run([DecodeJob("a.mp4", UniformMidpoints(), 2)])
print(video.decode_s)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Videos, and modules with the names of those that reading them imports."""
    write_video(tmp_path / "a.mp4", 12)
    for name in (
        "av",
        "decord",
        "numpy",
        "json",
        "struct",
        "fsspec",
        "pyarrow",
        "lightning",
        "hydra",
        "typing_extensions",
    ):
        (tmp_path / f"{name}.py").write_text(TRAP.format(folder=str(tmp_path)))
    return tmp_path


def run(folder: Path, *words: str, python_path: str = PACKAGE) -> str:
    environment = {**os.environ, "PYTHONPATH": python_path}
    result = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert not (folder / MARK).exists(), (folder / MARK).read_text()
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_command_runs_nothing_of_the_videos_folder(folder: Path) -> None:
    assert "1 of 1 files usable" in run(folder, "-m", "liteframe", "check", ".")
    script = folder.parent / f"{folder.name}-script.py"  # as the `liteframe` command, which lies elsewhere
    script.write_text("import sys\nfrom liteframe.command.cli import main\nsys.exit(main())\n")
    assert "1 of 1 files usable" in run(folder, str(script), "check", ".")


def test_synth_starts_processes_that_run_nothing_of_the_folder(folder: Path) -> None:
    if sys.version_info < (3, 11):
        pytest.skip("Python 3.10 cannot be told to leave the current folder alone")
    for name in ("multiprocessing", "pickle", "socket"):
        (folder / f"{name}.py").write_text(TRAP.format(folder=str(folder)))
    script = folder.parent / f"{folder.name}-script.py"
    script.write_text(
        "from liteframe.tiny.synthetic_files import synth_command\n"
        "if __name__ == '__main__':\n    synth_command('world', train=1, val=1, test=1, processes=1)\n"
    )
    run(folder, str(script))
    assert (folder / "world" / "train.jsonl").exists()


def test_children_of_an_interpreter_started_here_run_nothing_of_here(folder: Path) -> None:
    for name in ("numpy", "json", "struct", "typing_extensions"):  # the interpreter itself would import these
        (folder / f"{name}.py").unlink()
    assert float(run(folder, "-c", POOL, "auto", "")) < 100


def test_own_decoders_and_samplers_of_the_current_folder_are_found(folder: Path) -> None:
    (folder / "own.py").write_text(OWN)
    script = folder.parent / f"{folder.name}-pool.py"
    script.write_text(POOL)
    assert float(run(folder, str(script), "own:read", "")) == 4321.0
    assert float(run(folder, str(script), "auto", "own")) < 100
    assert float(run(folder, str(script), "own:read", "own")) == 4321.0


def test_own_modules_on_pythonpath_are_found(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    code = tmp_path_factory.mktemp("code")
    (code / "own.py").write_text(OWN)
    script = folder.parent / f"{folder.name}-pool.py"
    script.write_text(POOL)
    assert float(run(folder, str(script), "own:read", "", python_path=os.pathsep.join([PACKAGE, str(code)]))) == 4321.0


def test_the_path_leaves_out_the_current_folder_unless_it_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path, "/elsewhere"])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", PACKAGE]))
    path = import_path()
    assert "" not in path and str(tmp_path) not in path and "/elsewhere" in path
    assert PACKAGE in map(os.path.realpath, path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert str(tmp_path) in import_path()


def test_the_package_itself_is_found_where_it_lies_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PACKAGE)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(sys, "path", ["", *(entry for entry in sys.path if os.path.realpath(entry) != PACKAGE)])
    assert PACKAGE in import_path()


def test_only_modules_that_are_not_found_otherwise_add_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("av", "own"):
        (tmp_path / f"{name}.py").touch()
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    assert folders_of(["av", "numpy.random", "sys", "__main__", "no_such_module", "liteframe.data"]) == []
    assert folders_of(["own"]) == folders_of(["package.part", "av", "own"]) == [str(tmp_path)]
