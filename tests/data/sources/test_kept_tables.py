"""Rows of long lists that are kept: they are what the list says now, or they are read anew."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from liteframe.data.loading.split_rows import read_split
from liteframe.data.sources import kept_tables
from liteframe.data.sources.manifest import VideoSource, read_manifest, read_sources
from liteframe.data.sources.row_table import TABLE_FILES, RowTable
from liteframe.errors import DataError, ManifestError

LINES = [
    {"path": "a.mp4", "question": "ü 🎥 \\ud83d"},
    {"path": "b.mp4", "id": "b", "start": 0.5, "end": 2, "ok": False, "error": "no video"},
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
    path.parent.mkdir(exist_ok=True)
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
    sources = [
        str(written(tmp_path / "x.jsonl")),
        VideoSource(str(written(tmp_path / "y.jsonl", [{"path": "s3://b"}]))),
    ]
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


def test_another_file_of_the_same_size_and_times_is_another_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a link that leads elsewhere now, on a disk that has times to the second."""
    path = tmp_path / "x.jsonl"
    path.symlink_to(written(tmp_path / "first.jsonl"))
    changed_in_place(written(tmp_path / "other.jsonl"))

    def stat(path: Path) -> SimpleNamespace:
        found = os.stat(path)
        return SimpleNamespace(st_size=found.st_size, st_mtime_ns=0, st_ctime_ns=0, st_ino=found.st_ino)

    monkeypatch.setattr(kept_tables, "os", SimpleNamespace(**{**vars(os), "stat": stat}))
    read_sources(str(path))
    path.unlink()
    path.symlink_to(tmp_path / "other.jsonl")
    assert read_sources(str(path))[0].id == "z.mp4"


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


def zeroed(content: bytes) -> bytes:
    return bytes(len(content))


def one_byte_changed(content: bytes) -> bytes:
    return content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 2]) + content[len(content) // 2 + 1 :]


def cut(content: bytes) -> bytes:
    return content[:-8]


NOT_ROWS = [*(name for name in TABLE_FILES if name != "rows.bin"), "seen.json"]


@pytest.mark.parametrize("damage", [zeroed, one_byte_changed, cut])
@pytest.mark.parametrize("name", NOT_ROWS)
def test_damaged_files_are_read_anew(
    name: str,
    damage: Callable[[bytes], bytes],
    tmp_path: Path,
    readings: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = written(tmp_path / "x.jsonl")
    read_sources(str(path))
    (folder,) = kept(tmp_path)
    (folder / name).write_bytes(damage((folder / name).read_bytes()))
    capsys.readouterr()
    assert list(read_sources(str(path))) == read_manifest(path) and len(readings) == 2
    said = capsys.readouterr().err
    assert said.count("warning") == 1 and str(folder) in said and name in said and "read anew" in said
    assert list(read_sources(str(path))) == read_manifest(path) and len(readings) == 2
    assert not folder.exists() and "warning" not in capsys.readouterr().err


def test_a_file_that_is_not_there_is_read_anew(tmp_path: Path, readings: list[str]) -> None:
    path = written(tmp_path / "x.jsonl")
    read_sources(str(path))
    for name in TABLE_FILES:
        (folder,) = kept(tmp_path)
        (folder / name).unlink()
        assert list(read_sources(str(path))) == read_manifest(path)
    assert len(readings) == 1 + len(TABLE_FILES)


def test_damaged_rows_are_found_as_they_are_used_and_read_anew_by_the_next_run(
    tmp_path: Path, readings: list[str]
) -> None:
    """Rows are checked block by block, as opening would take minutes; whole blocks beside the damaged one are used."""
    lines = [{"path": f"v{number}.mp4", "question": "x" * 1000} for number in range(200)]
    path = written(tmp_path / "x.jsonl", lines)  # type: ignore[arg-type]
    read_sources(str(path))
    (folder,) = kept(tmp_path)
    content = (folder / "rows.bin").read_bytes()
    (folder / "rows.bin").write_bytes(content.replace(b"v199.mp4", b"v198.mp4"))
    table = read_sources(str(path))
    for rows in (pickle.loads(pickle.dumps(table)), table):
        assert rows[0].id == "v0.mp4" and rows[70].path.endswith("v70.mp4") and len(readings) == 1
        with pytest.raises(DataError, match=rf"{folder}/rows\.bin: does not hold .*start the run again"):
            rows[199]
        with pytest.raises(DataError, match="start the run again"):
            list(rows)
    del table, rows
    assert list(read_sources(str(path))) == read_manifest(path) and len(readings) == 2 and not folder.exists()
    (folder,) = kept(tmp_path)
    os.truncate(folder / "rows.bin", len(content) - 1)
    assert list(read_sources(str(path))) == read_manifest(path) and len(readings) == 3


def test_all_files_are_on_the_disk_before_the_table_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, rename = os.fsync, Path.rename
    synced, unsynced = set[tuple[int, int]](), list[str]()

    def seen_fsync(handle: int) -> None:
        found = os.fstat(handle)
        synced.add((found.st_ino, found.st_size))
        fsync(handle)

    def seen_rename(part: Path, target: Path) -> Path:
        files = [(file.name, file.stat()) for file in part.iterdir()]
        unsynced.extend(name for name, found in files if (found.st_ino, found.st_size) not in synced)
        assert {name for name, _ in files} == {*TABLE_FILES, "seen.json", "held"}
        return rename(part, target)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(Path, "rename", seen_rename)
    read_sources(str(written(tmp_path / "x.jsonl")))
    assert unsynced == [] and len(kept(tmp_path)) == 1
    if os.name != "nt":
        assert (tmp_path / "cache" / "liteframe" / "lists").stat().st_ino in {inode for inode, _ in synced}


def test_a_folder_deleted_while_it_is_used_is_named(tmp_path: Path) -> None:
    table = read_sources(str(written(tmp_path / "x.jsonl")))
    handed = pickle.dumps(table)
    (folder,) = kept(tmp_path)
    shutil.rmtree(folder)
    assert table[0].id == "a.mp4", "who has it open keeps it"
    with pytest.raises(DataError, match=f"{folder}: was deleted while a run used it; start the run again"):
        pickle.loads(handed)


def test_a_removal_that_fails_is_no_failure_of_keeping(
    tmp_path: Path, readings: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "x.jsonl")
    read_sources(str(path))
    written(path, LINES[:2])

    def refused(path: Path) -> bool:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(kept_tables, "remove_unheld", refused)
    for _ in range(2):
        assert list(read_sources(str(path))) == read_manifest(path)
    assert len(readings) == 2 and len(kept(tmp_path)) == 2 and "cannot be kept" not in capsys.readouterr().err


def test_a_list_has_one_table_by_whichever_path_from_whichever_folder(
    tmp_path: Path, readings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "lists" / "x.jsonl", [*LINES, {"path": 3}])
    (tmp_path / "beside").mkdir()
    rows = read_manifest(path, keep_unusable=True)
    for folder in (tmp_path, tmp_path / "lists", tmp_path / "beside"):
        monkeypatch.chdir(folder)
        for name in (str(path), os.path.relpath(path), path.as_uri()):
            table = read_sources(name, keep_unusable=True)
            assert list(table) == rows and [row.place for row in table] == [row.place for row in rows]
    assert readings == ["read"] and len(kept(tmp_path)) == 1


def test_a_list_behind_a_link_is_the_one_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`link/../x.jsonl` lies beside what the link leads to; and paths are relative to the folder as it was named."""
    (tmp_path / "far" / "lists").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "lists")
    written(tmp_path / "x.jsonl", LINES[:1])
    written(tmp_path / "far" / "x.jsonl", LINES[:2])
    written(tmp_path / "far" / "lists" / "y.jsonl", LINES[:1])
    monkeypatch.chdir(tmp_path)
    assert len(read_sources("link/../x.jsonl")) == 2 and len(read_sources("x.jsonl")) == 1
    assert read_sources("link/y.jsonl")[0].path == str(tmp_path / "link" / "a.mp4")
    assert read_sources("far/lists/y.jsonl")[0].path == str(tmp_path / "far" / "lists" / "a.mp4")


def test_what_other_code_read_is_not_used_and_removed(
    tmp_path: Path, readings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "x.jsonl")
    read_sources(str(path))
    (old,) = kept(tmp_path)
    monkeypatch.setattr(kept_tables, "_reader", lambda: "of another version")
    read_sources(str(path))
    assert len(readings) == 2 and len(kept(tmp_path)) == 1 and not old.exists()


def test_tables_that_no_run_opens_for_long_are_removed(tmp_path: Path) -> None:
    """Of any lists, when another one is kept; neither those in use, nor what liteframe did not write."""
    folder, tables, of = tmp_path / "cache" / "liteframe" / "lists", dict[str, RowTable](), dict[str, Path]()
    for name in ("old", "held", "opened"):
        tables[name] = read_sources(str(written(tmp_path / f"{name}.jsonl")))
        (of[name],) = set(folder.iterdir()) - set(of.values())
    left = folder / f".{'0' * 20}-{'1' * 20}-{'2' * 8}.part"
    foreign = [folder / "mine", folder / ("0" * 20), folder / ("3" * 60)]
    for other in (left, *foreign):
        other.mkdir()
        (other / "rows.bin").touch()
    for path in [*folder.iterdir(), *folder.glob("*/held")]:
        os.utime(path, (0, time.time() - 31 * 86_400))
    del tables["old"], tables["opened"]
    read_sources(str(tmp_path / "opened.jsonl"))
    read_sources(str(written(tmp_path / "new.jsonl")))
    assert of["held"].exists() and of["opened"].exists() and not of["old"].exists() and not left.exists()
    assert all((path / "rows.bin").exists() for path in foreign) and len(kept(tmp_path)) == 3 + len(foreign)


def test_rows_that_cannot_be_read_are_kept_and_named_as_if_read_anew(tmp_path: Path, readings: list[str]) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"path": "a.mp4", "ok": false, "error": "damaged"}\n{"path": 3}\nno json\n')
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
