"""Parquet of any columns: what a list cannot hold is named, row by row."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from liteframe.data.sources.list_rows import each_row
from liteframe.data.sources.manifest import read_manifest
from liteframe.errors import ManifestError

pa = pytest.importorskip("pyarrow")


def written(path: Path, columns: dict[str, Any]) -> Path:
    from pyarrow.parquet import write_table

    write_table(pa.table(columns), path)
    return path


def test_columns_of_every_kind_are_read(tmp_path: Path) -> None:
    structs = pa.array([{"name": "x", "n": 1}, None])
    columns = {
        "path": pa.array(["a.mp4", "b.mp4"]).dictionary_encode(),
        "questions": pa.array([[{"question": "q", "answer": "a"}], None]),
        "nested": pa.array([[[[1]]], [[]]]),
        "structs": structs,
        "map": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64())),
        "when": pa.array([datetime.datetime(2024, 1, 1), None]),
        "bytes": pa.array([b"\xff", None]),
        "decimal": pa.array([1, 2], pa.decimal128(5, 2)),
    }
    first, second = read_manifest(written(tmp_path / "x.parquet", columns))
    assert first.extra["questions"] == [{"question": "q", "answer": "a"}] and "questions" not in second.extra
    assert first.id == "a.mp4" and first.extra["structs"] == {"name": "x", "n": 1}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"path": pa.array([b"a.mp4", b"\xff.mp4"])}, "row 1: field 'path': a string is needed"),
        ({"path": pa.array(["a.mp4", None])}, r"row 2: field 'path' \(or 'video'\)"),
        ({"path": pa.array([1, 2])}, "row 1: field 'path': a string is needed"),
        ({"path": pa.array([["a.mp4"], ["b.mp4"]])}, "row 1: field 'path': a string is needed"),
        ({"path": pa.array(["a.mp4", "b.mp4"]), "start": pa.array(["0:00", "1"])}, "row 1: field 'start'"),
        ({"path": pa.array([], pa.string())}, "the manifest is empty"),
        ({}, "the manifest is empty"),
        ({f"c{number}": pa.array([1]) for number in range(10_001)}, "10,001 columns"),
    ],
)
def test_what_no_list_holds_is_named(columns: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=rf"x\.parquet: .*{message}"):
        read_manifest(written(tmp_path / "x.parquet", columns))


def test_text_that_is_no_utf8_costs_its_row(tmp_path: Path) -> None:
    raw = pa.array([b"a.mp4", b"\xff.mp4", b"c.mp4"]).view(pa.string())
    path = written(tmp_path / "x.parquet", {"path": raw, "other": pa.array([1, 2, 3])})
    rows = read_manifest(path, keep_unusable=True)
    assert [row.error is None for row in rows] == [True, False, True]
    assert f"{path}: row 2: field 'path': cannot be read" in (rows[1].error or "")


def test_a_huge_conversation_costs_its_row(tmp_path: Path) -> None:
    talk = pa.array([[{"from": "human", "value": "x" * 1_000_001}], [{"from": "human", "value": "x"}]])
    columns = {"video": pa.array(["a.mp4", "b.mp4"]), "conversations": talk}
    rows = read_manifest(written(tmp_path / "x.parquet", columns), keep_unusable=True)
    assert [row.error is None for row in rows] == [False, True] and "field 'conversations'" in (rows[0].error or "")


def test_two_columns_of_one_name_are_named(tmp_path: Path) -> None:
    from pyarrow.parquet import write_table

    table = pa.Table.from_arrays([pa.array(["a.mp4"]), pa.array(["b.mp4"])], names=["path", "path"])
    write_table(table, tmp_path / "x.parquet")
    with pytest.raises(ManifestError, match="field 'path': is there twice"):
        read_manifest(tmp_path / "x.parquet")


def test_dates_that_python_cannot_hold_cost_their_row(tmp_path: Path) -> None:
    when = pa.array([0, 2**62], pa.timestamp("us"))
    rows = read_manifest(
        written(tmp_path / "x.parquet", {"path": pa.array(["a.mp4", "b.mp4"]), "when": when}), keep_unusable=True
    )
    assert [row.error is None for row in rows] == [True, False] and "field 'when'" in (rows[1].error or "")


def test_a_file_cut_short_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "x.parquet", {"path": pa.array([f"{n}.mp4" for n in range(1000)])})
    whole = path.read_bytes()
    for size in (0, 4, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ManifestError, match=r"x\.parquet: not a Parquet file"):
            read_manifest(path)
    damaged = bytearray(whole)
    damaged[20:200] = b"\xff" * 180
    path.write_bytes(damaged)
    with pytest.raises(ManifestError, match=r"x\.parquet"):
        read_manifest(path)


def test_rows_whose_texts_repeat_are_not_all_held_at_once(tmp_path: Path) -> None:
    """They take a few bytes each in the file, and their whole length in memory."""
    talk = pa.array([[{"from": "human", "value": "x" * 50_000}]]).take(pa.array([0] * 1000))
    path = written(tmp_path / "x.parquet", {"video": pa.array(["a.mp4"] * 1000), "conversations": talk})
    del talk
    before, most = pa.total_allocated_bytes(), 0
    for _ in each_row(path):
        most = max(most, pa.total_allocated_bytes() - before)
    assert path.stat().st_size < 1_000_000 and most < 25_000_000


def test_a_column_of_videos_names_them(tmp_path: Path) -> None:
    """As `datasets` writes a `Video` that it did not embed, and as its viewer shows one."""
    files = pa.array([{"bytes": None, "path": "a.mp4"}, {"bytes": b"", "path": str(tmp_path / "b.mp4")}])
    rows = read_manifest(written(tmp_path / "x.parquet", {"video": files, "caption": pa.array(["a", "b"])}))
    assert [row.path for row in rows] == [str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4")]
    urls = pa.array([{"src": "https://example.org/a.mp4"}])
    (row,) = read_manifest(written(tmp_path / "y.parquet", {"video": urls}))
    assert row.path == "https://example.org/a.mp4"


@pytest.mark.parametrize(
    ("video", "message"),
    [
        ({"bytes": b"\0\0\0\x18ftyp", "path": "a.mp4"}, "holds the video itself; write each one into a file"),
        ({"bytes": None, "path": None}, "the path of a video file is needed, not None"),
        ({"frames": [1]}, "the path of a video file is needed, not {'frames': \\[1\\]}"),
        (7, "the path of a video file is needed, not 7"),
        ([{"bytes": b"x", "path": "a.mp4"}], "holds the video itself"),
    ],
)
def test_a_column_of_videos_without_their_names_is_named(video: Any, message: str, tmp_path: Path) -> None:
    path = written(tmp_path / "x.parquet", {"video": pa.array([video])})
    with pytest.raises(ManifestError, match=rf"x\.parquet: row 1: field ('video'|'path' \(or 'video'\)): {message}"):
        read_manifest(path)
