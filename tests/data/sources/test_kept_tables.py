"""Rows of long lists that are kept: they are what the list says now, or they are read anew."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from liteframe.data.loading.split_rows import read_split
from liteframe.data.sources import kept_tables
from liteframe.data.sources.manifest import VideoSource, read_manifest, read_sources
from liteframe.data.sources.row_table import RowTable
from liteframe.errors import DataError, ManifestError

LINES = [
    {"path": "a.mp4", "question": "ü 🎥 \\ud83d"},
    {"path": "b.mp4", "id": "b", "start": 0.5, "end": 2, "error": "no video"},
    {"video": "c.mp4", "conversations": [{"from": "human", "value": "\0\n"}], "data_source": "part"},
    {"path": "a.mp4", "scene": {"deep": [1, None, 2.5, 10**30, float("inf")]}},
]


@pytest.fixture(autouse=True)
def all_lists_are_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_tables, "LONG_LIST", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one name with each reading of a list."""
    seen: list[str] = []
    keep = kept_tables._keep

    def counted(*args: object) -> RowTable:
        seen.append("read")
        return keep(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(kept_tables, "_keep", counted)
    return seen


def written(path: Path, lines: list[dict[str, object]] = LINES) -> Path:  # type: ignore[assignment]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def kept(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "liteframe" / "lists").iterdir())


def test_kept_rows_are_those_of_the_list_and_are_read_once(tmp_path: Path, readings: list[str]) -> None:
    path = written(tmp_path / "x.jsonl")
    first, again = read_sources(str(path)), read_sources(str(path))
    assert list(first) == list(again) == read_manifest(path) and readings == ["read"]
    held = RowTable([read_manifest(path)])
    assert [row.place for row in again] == [row.place for row in held] and again.errors == held.errors
    for name in ("keys_N", "sample_keys_N", "usable_N"):
        assert getattr(again, name).tolist() == getattr(held, name).tolist()
    assert again.sizes == [4] and again.first_url is None


def test_rows_of_several_lists_are_kept(tmp_path: Path, readings: list[str]) -> None:
    sources = [str(written(tmp_path / "x.jsonl")), VideoSource(str(written(tmp_path / "y.jsonl", [{"path": "s3://b"}])))]
    for _ in range(2):
        rows = read_sources(sources)
        assert list(rows.ids()) == ["a.mp4", "b", "c.mp4", "a.mp4@2", "s3://b"]
        assert rows.sizes == [4, 1] and rows.first_url == "s3://b"
    assert readings == ["read"]


def test_rows_of_parquet_are_the_same_held_and_kept(
    tmp_path: Path, readings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values that JSON has not are texts at any depth, however long the list is."""
    pa = pytest.importorskip("pyarrow")
    from datetime import datetime

    from pyarrow.parquet import write_table

    when, path = [datetime(2024, 1, 1), None], tmp_path / "y.parquet"
    columns = {
        "path": ["a.mp4", "s3://x/b.mp4"],
        "when": when,
        "bytes": [b"\xff", b""],
        "deep": [[{"when": time}] for time in when],
        "map": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64())),
        "conversations": [[{"from": "human", "value": "x", "when": time}] for time in when],
    }
    write_table(pa.table(columns), path)
    rows = read_manifest(path)
    time = "2024-01-01 00:00:00"
    assert rows[0].extra == {"when": time, "bytes": "b'\\xff'", "deep": [{"when": time}], "map": [["k", 1]]}
    assert rows[0].conversations == [{"from": "human", "value": "x", "when": time}]
    for long_list in (0, 0, 1 << 40):
        monkeypatch.setattr(kept_tables, "LONG_LIST", long_list)
        assert list(read_sources(str(path))) == rows
    assert readings == ["read"]


def changed_in_place(path: Path) -> None:
    times = os.stat(path)
    path.write_bytes(path.read_bytes().replace(b"a.mp4", b"z.mp4"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [lambda path: written(path, LINES[:3]), changed_in_place],
    ids=["shorter", "as_long_and_as_old"],
)
def test_a_list_that_changed_is_read_anew_and_what_was_kept_is_removed(
    change: Callable[[Path], object], tmp_path: Path, readings: list[str]
) -> None:
    path = written(tmp_path / "x.jsonl")
    read_sources(str(path))
    (old,) = kept(tmp_path)
    (old / "mine.txt").touch()
    change(path)
    assert list(read_sources(str(path))) == read_manifest(path)
    assert len(readings) == 2 and len(kept(tmp_path)) == 2
    assert [name.name for name in old.iterdir()] == ["mine.txt"], "what somebody else put there is not removed"


def test_what_a_process_has_open_is_not_removed(tmp_path: Path) -> None:
    path = written(tmp_path / "x.jsonl")
    table, rows = read_sources(str(path)), read_manifest(path)
    written(path, LINES[:2])
    read_sources(str(path))
    assert len(kept(tmp_path)) == 2 and list(table) == rows
    del table
    written(path, LINES[:1])
    read_sources(str(path))
    assert len(kept(tmp_path)) == 1


def test_what_lies_on_the_disk_is_asked_again(tmp_path: Path, readings: list[str]) -> None:
    """A `data_source` names a folder only where there is one, and a link may lead out of a root since."""
    path, root = written(tmp_path / "x.jsonl"), tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    written(path, [{"video": "sub/c.mp4", "conversations": [], "data_source": "part"}])
    source = VideoSource(str(path), str(root))
    assert read_sources([source])[0].path == str(root / "sub" / "c.mp4")
    (root / "sub" / "other.mp4").touch()
    assert read_sources([source])[0].path == str(root / "sub" / "c.mp4") and len(readings) == 1
    (root / "sub" / "c.mp4").symlink_to(root / "sub" / "other.mp4")
    read_sources([source])
    (root / "sub" / "c.mp4").unlink()
    (root / "sub" / "c.mp4").symlink_to(tmp_path / "outside.mp4")
    with pytest.raises(ManifestError, match="leads out"):
        read_sources([source])
    (root / "sub" / "c.mp4").unlink()
    (root / "part").mkdir()
    assert read_sources([source])[0].path == str(root / "part" / "sub" / "c.mp4")


@pytest.mark.parametrize("damage", ["cut", "no facts", "other facts"])
def test_damaged_files_are_read_anew(damage: str, tmp_path: Path, readings: list[str]) -> None:
    path = written(tmp_path / "x.jsonl")
    read_sources(str(path))
    (folder,) = kept(tmp_path)
    if damage == "cut":
        os.truncate(folder / "rows.bin", 10)
    elif damage == "no facts":
        (folder / "facts.json").unlink()
    else:
        (folder / "facts.json").write_text('{"rows": 3}')
    assert list(read_sources(str(path))) == read_manifest(path) and len(readings) == 2


def test_rows_that_cannot_be_read_are_kept_and_named_as_if_read_anew(tmp_path: Path, readings: list[str]) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"path": "a.mp4", "error": "damaged"}\n{"path": 3}\nno json\n')
    with pytest.raises(ManifestError) as fresh:
        read_sources(str(path))
    assert not [folder for folder in kept(tmp_path) if folder.name.endswith(".part")]
    table = read_sources(str(path), keep_unusable=True)
    assert list(table) == read_manifest(path, keep_unusable=True) and len(table.errors) == 3
    with pytest.raises(ManifestError) as recalled:
        read_sources(str(path))
    assert str(recalled.value) == str(fresh.value) and "x.jsonl:2: field 'path'" in str(fresh.value)
    assert len(readings) == 2


def test_what_a_stage_refuses_is_not_kept(tmp_path: Path, readings: list[str]) -> None:
    def refuse(row: dict[str, object]) -> None:
        if row["path"] == str(tmp_path / "a.mp4"):
            raise DataError("not this one")

    path = str(written(tmp_path / "x.jsonl"))
    sources = [VideoSource(path)]
    rows = read_split("train", sources, refuse, skip=True, has_cache=False)
    assert rows.errors == {0: f"{path}:1: not this one", 1: "no video", 3: f"{path}:4: not this one"}
    assert list(rows.errors) == [0, 1, 3] and rows[0].error == rows.errors[0]
    with pytest.raises(ManifestError, match=r"x\.jsonl:1: not this one"):
        read_split("train", sources, refuse, skip=False, has_cache=False)
    assert read_split("train", sources, None, skip=True, has_cache=False).errors == {1: "no video"}
    assert readings == ["read"]


def test_where_nothing_can_be_kept_rows_are_held_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    path = written(tmp_path / "x.jsonl")
    assert list(read_sources(str(path))) == read_manifest(path)
    said = capsys.readouterr().err
    assert "the rows of x.jsonl cannot be kept" in said and "XDG_CACHE_HOME" in said


def test_what_a_killed_reader_left_is_removed(tmp_path: Path) -> None:
    path = written(tmp_path / "x.jsonl")
    read_sources(str(path))
    (folder,) = kept(tmp_path)
    left = folder.with_name(f".{folder.name}.part")
    shutil.move(folder, left)
    read_sources(str(path))
    assert not left.exists() and len(kept(tmp_path)) == 1
