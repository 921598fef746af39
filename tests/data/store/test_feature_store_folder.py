"""Other people's files in and around a feature store: refused before the work, never deleted."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from test_feature_store import IDS, hashes, make, make_key, write

from liteframe.data.store.files import remove_leftovers
from liteframe.data.store.folder import require_writable
from liteframe.data.store.removal import remove_store
from liteframe.data.store.writer import FeatureStoreWriter
from liteframe.errors import StoreError

THEIRS = (
    "shard-notes.txt",
    "shard-00000-notes.safetensors",
    "shard-00000-0123456789ab.json",
    "shard-00007-0123456789ab.safetensors",
    ".holiday.txt.0123456789abcdef.part",
    ".shard-00000-notes.json.0123456789abcdef.part",
    "parts/holiday.mp4",
    "parts/r00000-000000.txt",
    "parts/r00000-notes.json",
    "parts/r00000-000077.json",
    "parts/s00000-of-00002.json",
    "parts/s00001-of-00002.lock",
    "parts/r00000-000078.safetensors",
    "parts/.r00000-notes.txt.0123456789abcdef.part",
    "parts/deeper/r00000-000000.json",
)


def put(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b'{"mine": 1}')


def test_nothing_of_others_is_deleted(tmp_path: Path) -> None:
    write(tmp_path / "store", IDS[:5])
    for name in THEIRS:
        put(tmp_path / "store", name)
    make(tmp_path / "store")
    make(tmp_path / "straight")
    found = {p.relative_to(tmp_path / "store").as_posix() for p in (tmp_path / "store").rglob("*") if p.is_file()}
    assert found == {*THEIRS} | {*hashes(tmp_path / "straight")}
    assert all((tmp_path / "store" / name).read_bytes() == b'{"mine": 1}' for name in THEIRS)
    make(tmp_path / "store")
    remove_store(tmp_path / "store")
    left = {p.relative_to(tmp_path / "store").as_posix() for p in (tmp_path / "store").rglob("*") if p.is_file()}
    assert left == {*THEIRS}


def test_links_with_our_names_stay(tmp_path: Path) -> None:
    put(tmp_path, "mine.json")
    write(tmp_path / "store", IDS[:2])
    for name in ("parts/r00001-000000.json", "shard-00000-0123456789ab.safetensors"):
        (tmp_path / "store" / name).symlink_to(tmp_path / "mine.json")
    make(tmp_path / "store")
    assert (tmp_path / "mine.json").exists() and (tmp_path / "store" / "parts/r00001-000000.json").is_symlink()


def test_what_a_kill_left_of_ours_goes(tmp_path: Path) -> None:
    ours = [".key.json", ".COMPLETE", ".shard-00001-0123456789ab.json", "parts/.r00000-000003.safetensors"]
    write(tmp_path, IDS[:1])
    for name in ours:
        put(tmp_path, f"{name}.0123456789abcdef.part")
    put(tmp_path, "parts/.r00001-000003.json.0123456789abcdef.part")
    remove_leftovers(tmp_path / "parts", writer="r00001")
    assert len(list((tmp_path / "parts").glob(".*.part"))) == 1
    make(tmp_path)
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    "name",
    [
        "holiday.mp4",
        "parts/holiday.mp4",
        "index.json",
        "COMPLETE",
        "key.json",
        "shard-notes.txt",
        "checkpoints/last.ckpt",
    ],
)
def test_a_folder_of_others_is_refused_before_the_work(name: str, tmp_path: Path) -> None:
    put(tmp_path, name)
    for attempt in (lambda: require_writable(tmp_path), lambda: FeatureStoreWriter(tmp_path, make_key())):
        with pytest.raises(StoreError, match=r"but no feature store; give another folder|key\.json"):
            attempt()
    with pytest.raises(StoreError):
        remove_store(tmp_path)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / name]


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "file")
    for folder in (tmp_path / "file", tmp_path / "file" / "store"):
        with pytest.raises(StoreError, match="give another"):
            require_writable(folder)
        with pytest.raises(StoreError, match="give another"):
            FeatureStoreWriter(folder, make_key())


def test_a_folder_that_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    require_writable(tmp_path / "deep" / "store")
    assert not list((tmp_path / "deep" / "store").iterdir())
    write(tmp_path / "store", IDS[:2])
    before = hashes(tmp_path / "store")
    require_writable(tmp_path / "store")
    assert hashes(tmp_path / "store") == before


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["open", "fsync", "mkdir"])
def test_a_disk_that_takes_nothing_is_named(
    code: int, call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    owner = "builtins" if call == "open" else "os"
    monkeypatch.setattr(f"{owner}.{call}", fail)
    attempts: list[Callable[[], object]] = [
        lambda: require_writable(tmp_path / "store"),
        lambda: FeatureStoreWriter(tmp_path / "store", make_key()),
    ]
    for attempt in attempts:
        with pytest.raises(StoreError, match=f"cannot be written .*{os.strerror(code)}"):
            attempt()
    assert not list(tmp_path.rglob("*.part"))
