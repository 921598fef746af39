"""A file is the old one or the new one, whole, whatever happens to those who write it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from liteframe.system.atomic import (
    atomic_open,
    atomic_write_json,
    atomic_write_text,
    disk_fault,
    give_usual_modes,
    remove_leftovers,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that was written before."""
    atomic_write_text(tmp_path / "file.txt", "old")
    return tmp_path / "file.txt"


def test_the_new_file_takes_the_place_of_the_old_one_at_the_end(path: Path) -> None:
    with atomic_open(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
def test_an_error_leaves_the_old_file_and_nothing_else(error: BaseException, path: Path) -> None:
    with pytest.raises(type(error)), atomic_open(path) as file:
        file.write(b"half")
        raise error
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_file_that_cannot_be_finished_leaves_the_old_one(
    call: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(os, call, fail)
        atomic_write_text(path, "new")
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]


def test_the_content_is_on_disk_before_it_has_the_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("fsync", "replace"):
        function = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, n=name, f=function: (calls.append(n), f(*args))[1])
    atomic_write_text(path, "new")
    atomic_write_text(path, "newer", sync=False)
    assert calls == ["fsync", "replace", "replace"]


def test_writers_of_one_path_do_not_meet(path: Path) -> None:
    with atomic_open(path) as first, atomic_open(path) as second:
        first.write(b"a" * 9)
        second.write(b"b")
        assert len(list(path.parent.iterdir())) == 3
    assert path.read_text() == "a" * 9, "the last one to end wins, and is whole"
    assert list(path.parent.iterdir()) == [path]


def test_json_that_cannot_be_written_leaves_the_old_file(path: Path) -> None:
    atomic_write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        atomic_write_json(path, {"a": object()})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 1}
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills a process")
def test_what_a_killed_writer_leaves_is_found_by_the_name_of_its_file(path: Path) -> None:
    code = (
        "import os, signal, sys; from liteframe.system.atomic import atomic_open\n"
        "with atomic_open(sys.argv[1]) as file:\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == -signal.SIGKILL
    assert path.read_text() == "old" and len(list(path.parent.iterdir())) == 2
    remove_leftovers(path.parent, "other.*")
    assert len(list(path.parent.iterdir())) == 2
    remove_leftovers(path.parent, path.name)
    assert list(path.parent.iterdir()) == [path]


def test_others_may_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    secret = tmp_path / "deep" / "model.safetensors"
    secret.touch(mode=0o600)
    before = os.umask(0o027)
    try:
        give_usual_modes(tmp_path)
    finally:
        assert os.umask(before) == 0o027, "it is put back"
    assert secret.stat().st_mode & 0o777 == 0o640 and os.access(tmp_path / "deep", os.X_OK)


def test_a_fault_of_the_disk_is_told_from_others() -> None:
    inner = RuntimeError("writer failed")
    inner.__cause__ = OSError(28, "No space left on device")
    assert disk_fault(OSError(30, "read-only")) == "Read-only file system"
    assert disk_fault(inner) == "No space left on device"
    assert disk_fault(ValueError("Error while serializing: I/O error: x (os error 28)")) == "No space left on device"
    for other in (OSError(2, "no such file"), ValueError("28"), FileNotFoundError("(os error 2)")):
        assert disk_fault(other) is None
