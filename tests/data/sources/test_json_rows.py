"""JSON lists row by row: a bad one costs itself alone, in memory of a row."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from liteframe.data.sources import json_text
from liteframe.data.sources.json_text import json_rows
from liteframe.data.sources.manifest import read_manifest
from liteframe.errors import ManifestError

GOOD = [b'{"path": "good.mp4"}', b'{"path": "other.mp4", "x": [1, {"y": "]}"}]}']


def written(path: Path, row: bytes, is_list: bool) -> Path:
    rows = [GOOD[0], row, GOOD[1]]
    path.write_bytes(b"[" + b",\n".join(rows) + b"]" if is_list else b"\n".join(rows) + b"\n")
    return path


@pytest.mark.parametrize("is_list", [False, True], ids=["JSONL", "a JSON list"])
@pytest.mark.parametrize(
    ("row", "message"),
    [
        (rb'{"path": "a\ud800.mp4"}', "field 'path': holds half a character"),
        (rb'{"path": "a.mp4", "id": "\udfff"}', "field 'id': holds half a character"),
        (rb'{"path": "a.mp4", "q": [{"z": "\uD83D"}]}', "field 'q': holds half a character"),
        (rb'{"path": "a.mp4", "\ud800": 1}', r"field '\\ud800'"),
        (b'{"path": "a\xff.mp4"}', "field 'path': holds half a character"),
        (b'{"path": "a\0.mp4"}', "control character"),
        (b'{"path": "a.mp4", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested deeper than 64 levels"),
        (b'{"path": "a.mp4", "x": ' + b'{"y":' * 99 + b"1" + b"}" * 99 + b"}", "nested deeper than 64 levels"),
        (b'{"path": "a.mp4", "path": "b.mp4"}', "field 'path': is there twice"),
        (b'{"path": "a.mp4", "x": {"y": 1, "y": 2}}', "field 'y': is there twice"),
        (b'{"path": "a.mp4", "id": ' + b"9" * 5000 + b"}", "a number of thousands of digits"),
        (b'{"path": "a.mp4", "id": 1e400}', "field 'id'"),
        (b'{"path": "a.mp4", "id": Infinity}', "field 'id'"),
        (b'{"path": "a.mp4", "id": true}', "field 'id'"),
        (b'{"path": "a.mp4", "start": "0:03"}', "field 'start'"),
        (b'{"path": "a.mp4", "start": ' + b"9" * 400 + b"}", "field 'start'"),
        (b'{"path": "' + b"x" * 10_000 + b'"}', "field 'path': has 10,000 characters"),
        (b"3", "a row is a JSON object"),
        (b"null", "a row is a JSON object"),
    ],
)
def test_a_bad_row_costs_itself_alone(row: bytes, message: str, is_list: bool, tmp_path: Path) -> None:
    listed = written(tmp_path / "list", row, is_list)
    place = f"{listed}: row 2" if is_list else f"{listed}:2"
    with pytest.raises(ManifestError, match=message) as error:
        read_manifest(listed)
    assert str(error.value).startswith(place) and "\n" not in str(error.value) and len(str(error.value)) < 500
    rows = read_manifest(listed, keep_unusable=True)
    assert [Path(row.path).name for row in (rows[0], rows[2])] == ["good.mp4", "other.mp4"] and len(rows) == 3
    assert (rows[1].path, rows[1].id, rows[1].error) == (place, place, str(error.value))
    json.dumps([row.as_dict() for row in rows], ensure_ascii=False).encode()


def test_half_characters_that_belong_together_are_text(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(rb'{"path": "a\ud83d\ude00.mp4", "question": "\\ud800"}')
    (row,) = read_manifest(tmp_path / "x.jsonl")
    assert row.id == "a\U0001f600.mp4" and row.question == "\\ud800"


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_a_list_is_read_as_json_reads_it_wherever_its_parts_end(
    chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: list[Any] = [{"a": ['"]}', "\\", {"é": 1.5e3}]}, 12, -0.25, 'x"y', None, True, [], {}, {"b": "ü" * 50}, 7]
    monkeypatch.setattr(json_text, "_CHUNK", chunk)
    for indent in (None, 2):
        (tmp_path / "x.json").write_text(" \n" + json.dumps(values, indent=indent, ensure_ascii=False) + "\n ")
        found = list(json_rows(tmp_path / "x.json"))
        assert [value for _, value in found] == values
        assert found[2][0] == f"{tmp_path / 'x.json'}: row 3"
    (tmp_path / "none.json").write_text("[ ]")
    assert list(json_rows(tmp_path / "none.json")) == []
    deep = "[1, " + '{"a": "]", "b": ' + "[" * 2000 + '"]"' + "]" * 2000 + "}" + ", 2]"
    (tmp_path / "deep.json").write_text(deep)
    first, bad, last = (value for _, value in json_rows(tmp_path / "deep.json"))
    assert (first, last) == (1, 2) and isinstance(bad, ManifestError)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1},\n {"b": 2', r":2: not JSON"),
        ('[{"a": 1}\n {"b": 2}]', r":2: not JSON \(Expecting ',' delimiter at column 2\)"),
        ('[{"a": 1},\n]', r":2: not JSON"),
        ("[1]\n[2]", r":2: not JSON \(Extra data"),
        ('[{"a": nope}]', r":1: not JSON"),
        ("[" * 100_000, "nested|not JSON"),
        ('[{"a": "b}, {"c": "d"}]', "not JSON"),
    ],
)
def test_a_list_that_is_not_json_is_no_list(text: str, message: str, tmp_path: Path) -> None:
    """Where one row ends is not known, and how many are lost with it."""
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ManifestError, match=message):
        for _, value in json_rows(tmp_path / "x.json"):
            if isinstance(value, ManifestError):
                raise value


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_other_encodings_are_named(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes('{"path": "a.mp4"}\n'.encode(encoding))
    with pytest.raises(ManifestError, match="not UTF-8 text"):
        read_manifest(tmp_path / "x.jsonl")


@pytest.mark.parametrize("begin", [b'{"path": "', b'[{"path": "', b"[", b"{", b""])
def test_a_line_without_end_takes_the_memory_of_a_row(
    begin: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_text, "MAX_ROW", 1 << 16)
    monkeypatch.setattr(json_text, "_CHUNK", 1 << 12)
    (tmp_path / "x.jsonl").write_bytes(begin + b"x" * (8 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(ManifestError, match=r"x\.jsonl:1: .*(a row of more than|not JSON)"):
            read_manifest(tmp_path / "x.jsonl")
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


def test_lines_that_old_macs_and_windows_end(tmp_path: Path) -> None:
    for end in (b"\r", b"\r\n", b"\n", b"\n\n"):
        (tmp_path / "x.jsonl").write_bytes(b"\xef\xbb\xbf" + end.join(GOOD))
        assert [row.id for row in read_manifest(tmp_path / "x.jsonl")] == ["good.mp4", "other.mp4"]


def test_an_object_over_several_lines_is_told_to_go_on(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"data": [{"path": "a.mp4"}]}, indent=2))
    with pytest.raises(
        ManifestError, match=r"x\.json:1: not JSON \(.*, where the line ends within a value\); write one"
    ):
        read_manifest(path)
    path.write_text('{"path": "a.mp4"} {"path": "b.mp4"}')
    with pytest.raises(ManifestError, match=r"x\.json:1: not JSON \(Extra data at column 19\)"):
        read_manifest(path)
