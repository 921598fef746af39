"""The lock of a run folder: who holds it is said, and nobody else's file is written over."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import pytest

from liteframe.errors import ConfigError
from liteframe.system.run_lock import RunLock, is_locked
from liteframe.system.runtime import try_lock


def test_a_held_folder_is_seen_as_such_by_all_who_ask(tmp_path: Path) -> None:
    assert not is_locked(tmp_path), "there is no lock yet"
    with RunLock(tmp_path):
        assert is_locked(tmp_path)
        with pytest.raises(ConfigError, match=f"in use by pid {os.getpid()} on "), RunLock(tmp_path):
            pass
    with mock.patch("os.close"):  # one that is still asking
        assert not is_locked(tmp_path)
    assert not is_locked(tmp_path)
    assert (tmp_path / ".lock").is_file(), "others may wait for this very file"


def test_who_comes_too_late_changes_nothing(tmp_path: Path) -> None:
    with RunLock(tmp_path):
        note = (tmp_path / ".lock").read_bytes()
        for _ in range(2):
            with pytest.raises(ConfigError, match="in use"), RunLock(tmp_path):
                pass
        assert (tmp_path / ".lock").read_bytes() == note == f"pid {os.getpid()} on {os.uname().nodename}\n".encode()


def test_a_holder_whose_note_cannot_be_read_is_another_process(tmp_path: Path) -> None:
    """As on Windows, which keeps others from reading what is locked."""
    denied = PermissionError(13, "Permission denied")
    with (
        RunLock(tmp_path),
        mock.patch("os.read", side_effect=denied),
        pytest.raises(ConfigError, match="in use by another process; wait"),
        RunLock(tmp_path),
    ):
        pass
    with RunLock(tmp_path):
        pass


def test_a_file_of_others_is_neither_emptied_nor_kept_locked(tmp_path: Path) -> None:
    file = tmp_path / ".lock"
    file.write_text("of another program\n")
    with pytest.raises(ConfigError, match="no run of liteframe wrote it"), RunLock(tmp_path):
        pass
    assert file.read_text() == "of another program\n"
    handle = os.open(file, os.O_RDWR)
    assert try_lock(handle)
    os.close(handle)
