"""Locks on files that may be removed, under the rules of the file systems that they lie on."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from liteframe.data.remote.file_locks import alone, hold, remove_unheld

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no flock")


@pytest.fixture
def nfs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks as NFS has them: of one alone only on a file that is open to be written to (flock(2), "NFS details")."""
    import fcntl

    flock = fcntl.flock

    def of_nfs(handle: int, operation: int) -> None:
        if operation & fcntl.LOCK_EX and fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", of_nfs)


def test_a_file_is_removed_once_nobody_holds_it_on_nfs_too(tmp_path: Path, nfs: None) -> None:
    path = tmp_path / "copy"
    path.touch()
    handle = hold(path)
    assert handle is not None and not remove_unheld(path) and path.exists()
    os.close(handle)
    assert remove_unheld(path) and not path.exists() and remove_unheld(path) and hold(path) is None
    with alone(tmp_path / "lock"):
        pass


def test_a_file_that_may_only_be_read_is_removed_too(tmp_path: Path) -> None:
    path = tmp_path / "copy"
    path.touch(mode=0o444)
    assert remove_unheld(path) and not path.exists()
