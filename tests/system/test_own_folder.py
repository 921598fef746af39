"""Folders are replaced only where liteframe wrote all of them, and a changed byte is seen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from liteframe.errors import ConfigError
from liteframe.system.own_folder import LISTING, list_files, replace_folder, require_replaceable, require_unchanged


def write(target: Path, text: str) -> None:
    with replace_folder(target) as part:
        (part / "inner").mkdir()
        (part / "inner" / "weights.safetensors").write_text(text)


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != LISTING
    }


def test_our_own_folder_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    write(tmp_path / "out", "first")
    write(tmp_path / "out", "second")
    assert files(tmp_path) == {"out/inner/weights.safetensors": "second"}


@pytest.mark.parametrize("name", ["thesis.tex", "inner/notes.txt", "inner/weights.safetensors.bak"])
def test_a_file_that_liteframe_did_not_write_is_never_deleted(tmp_path: Path, name: str) -> None:
    write(tmp_path / "out", "first")
    (tmp_path / "out" / name).write_text("mine")
    before = files(tmp_path)
    with pytest.raises(ConfigError, match="not " + Path(name).name if "/" not in name else name):
        write(tmp_path / "out", "second")
    assert files(tmp_path) == before


def test_a_folder_of_somebody_else_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("mine")
    with pytest.raises(ConfigError, match="liteframe did not write it"):
        require_replaceable(tmp_path / "photos")
    with pytest.raises(ConfigError, match="is a file"):
        require_replaceable(tmp_path / "photos" / "a.jpg")
    (tmp_path / "empty").mkdir()
    require_replaceable(tmp_path / "empty")
    require_replaceable(tmp_path / "absent")


def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)  # root may write anywhere
    with pytest.raises(ConfigError, match=f"nothing can be written in {tmp_path}"):
        require_replaceable(tmp_path / "new" / "out")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="nothing can be written in"):
        require_replaceable(tmp_path / "file" / "out")


def test_files_that_come_during_the_work_are_kept_too(tmp_path: Path) -> None:
    write(tmp_path / "out", "first")
    with pytest.raises(ConfigError, match=r"not late\.txt"), replace_folder(tmp_path / "out") as part:
        (part / "new").write_text("second")
        (tmp_path / "out" / "late.txt").write_text("mine")
    assert files(tmp_path) == {"out/inner/weights.safetensors": "first", "out/late.txt": "mine"}


@pytest.mark.parametrize("name", ["out.part", ".out.part", ".out.0123456789abcdef.part", ".out.0123456789abcdef.old"])
def test_folders_that_only_look_like_ours_are_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine.txt").write_text("mine")
    write(tmp_path / "out", "first")
    assert files(tmp_path) == {f"{name}/mine.txt": "mine", "out/inner/weights.safetensors": "first"}


def test_an_error_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "out", "first")
    with pytest.raises(KeyboardInterrupt), replace_folder(tmp_path / "out") as part:
        (part / "half").write_text("second")
        raise KeyboardInterrupt
    assert files(tmp_path) == {"out/inner/weights.safetensors": "first"}


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    error = pytest.raises(ConfigError, match=r"out: cannot be written \(No space left on device\)")
    with error, replace_folder(tmp_path / "out"):
        raise OSError(28, "No space left on device")


_KILLED = """
import os, signal, sys
from pathlib import Path
from liteframe.system.own_folder import replace_folder
moment, target = int(sys.argv[1]), Path(sys.argv[2])
real, calls = Path.rename, []
def rename(self, other):
    if len(calls) == moment:
        os.kill(os.getpid(), signal.SIGKILL)
    calls.append(self)
    return real(self, other)
Path.rename = rename
with replace_folder(target) as part:
    (part / "inner").mkdir()
    (part / "inner" / "weights.safetensors").write_text("second")
"""


@pytest.mark.parametrize("moment", [0, 1])
def test_after_a_kill_between_the_renamings_the_old_folder_is_back(tmp_path: Path, moment: int) -> None:
    write(tmp_path / "out", "first")
    command = [sys.executable, "-c", _KILLED, str(moment), str(tmp_path / "out")]
    assert subprocess.run(command, env=dict(os.environ)).returncode == -signal.SIGKILL
    with pytest.raises(RuntimeError), replace_folder(tmp_path / "out"):
        assert files(tmp_path / "out") == {"inner/weights.safetensors": "first"}
        raise RuntimeError
    assert files(tmp_path) == {"out/inner/weights.safetensors": "first"}


def test_every_flipped_bit_of_a_small_file_is_seen(tmp_path: Path) -> None:
    write(tmp_path / "out", "weights")
    require_unchanged(tmp_path / "out")
    path = tmp_path / "out" / "inner" / "weights.safetensors"
    data = path.read_bytes()
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(ConfigError, match=r"weights\.safetensors: changed since"):
            require_unchanged(tmp_path / "out")
    path.unlink()
    with pytest.raises(ConfigError, match="missing"):
        require_unchanged(tmp_path / "out")


def test_a_readme_may_be_edited(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("card")
    list_files(tmp_path)
    (tmp_path / "README.md").write_text("a better card")
    require_unchanged(tmp_path)


@pytest.mark.parametrize("name", ["../mine.txt", "/tmp/mine.txt"])
def test_a_listing_that_names_files_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "out" / LISTING).write_text(f'{{"files": {{"{name}": {{}}}}}}')
    with pytest.raises(ConfigError, match="damaged, or not written by liteframe"):
        require_replaceable(tmp_path / "out")
    assert (tmp_path / "mine.txt").exists()


def test_what_only_looks_like_our_leftover_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.txt").write_text("mine")
    old = tmp_path / ".out.0123456789abcdef.old"
    old.mkdir()
    (old / "sub").symlink_to(tmp_path / "elsewhere")
    (old / LISTING).write_text('{"files": {"sub/a.txt": {}}}')
    write(tmp_path / "out", "first")
    assert (tmp_path / "elsewhere" / "a.txt").read_text() == "mine" and old.is_dir()
    assert files(tmp_path / "out") == {"inner/weights.safetensors": "first"}


def test_two_who_write_one_folder_do_not_remove_each_others_work(tmp_path: Path) -> None:
    with replace_folder(tmp_path / "out") as first:
        (first / "a").write_text("first")
        write(tmp_path / "out", "second")
        assert (first / "a").is_file()
    assert files(tmp_path / "out") == {"a": "first"}


def test_a_mounted_volume_is_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == tmp_path / "out")
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match="a volume is mounted there"):
        require_replaceable(tmp_path / "out")
