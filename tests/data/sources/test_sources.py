"""Lists of videos as they are found, read into the rows of a manifest."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from liteframe.data.sources.conversations import turns_of
from liteframe.data.sources.manifest import VideoSource, read_manifest, read_manifests
from liteframe.errors import ConfigError, ManifestError

TALK = [
    {"from": "human", "value": "<image>\nWhat happens?"},
    {"from": "gpt", "value": "A star falls."},
    {"from": "human", "value": "Where?"},
    {"from": "gpt", "value": "On the left."},
]
TURNS = [("What happens?", "A star falls."), ("Where?", "On the left.")]
LLAVA: list[dict[str, Any]] = [
    {"id": "a", "data_source": "0_30_s_youtube", "video": "liwei/a.mp4", "conversations": TALK},
    {"id": "a", "data_source": "elsewhere", "video": "b.mp4", "conversations": TALK[:2]},
    {"id": 7, "video": "/abs/c.mp4", "conversations": TALK},
    {
        "videos": ["d.mp4"],
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "What happens?"}]},
            {"role": "assistant", "content": "A star falls."},
        ],
    },
]


def write(path: Path, rows: object, lines: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    listed = rows if isinstance(rows, list) else [rows]
    path.write_text("\n".join(map(json.dumps, listed)) if lines else json.dumps(rows, indent=1), encoding="utf-8")
    return path


def parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    pytest.importorskip("pyarrow")
    from pyarrow import Table
    from pyarrow.parquet import write_table

    write_table(Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("lines", [False, True], ids=["a JSON list", "JSONL"])
def test_llava_rows_become_rows_of_a_manifest(lines: bool, tmp_path: Path) -> None:
    root = tmp_path / "videos"
    (root / "0_30_s_youtube").mkdir(parents=True)
    listed = [*LLAVA[:2], {**LLAVA[2], "video": str(root / "abs" / "c.mp4")}, LLAVA[3]]
    rows = read_manifest(write(tmp_path / "lists" / "llava.json", listed, lines), str(root))
    assert [row.path for row in rows] == [
        str(root / "0_30_s_youtube/liwei/a.mp4"),
        str(root / "b.mp4"),
        str(root / "abs" / "c.mp4"),
        str(root / "d.mp4"),
    ]
    assert [row.id for row in rows] == ["a", "a@2", "7", "d.mp4"], "ids that are found may repeat"
    assert [turns_of(row.as_dict()) for row in rows[:3]] == [TURNS, TURNS[:1], TURNS]
    assert turns_of(rows[3].as_dict()) == [("Be short.\n\nWhat happens?", "A star falls.")]
    assert rows[0].extra == {"data_source": "0_30_s_youtube"}


def test_the_root_is_the_folder_of_the_list_unless_it_is_given(tmp_path: Path) -> None:
    listed = write(tmp_path / "x.json", LLAVA[1:2])
    assert read_manifest(listed)[0].path == str(tmp_path / "b.mp4")
    (row,) = read_manifests([VideoSource(str(listed), root="s3://bucket/clips/")])
    assert (row.path, row.id) == ("s3://bucket/clips/b.mp4", "a")
    (row,) = read_manifest(write(tmp_path / "y.json", [{"path": "https://host/e.mp4?v=1", "answer": "x"}]))
    assert row.path == row.id == "https://host/e.mp4?v=1"


def test_parquet_rows_are_those_of_json(tmp_path: Path) -> None:
    second = {**LLAVA[1], "start": 1.5, "colour": "red"}
    table = read_manifest(parquet(tmp_path / "rows.parquet", [{**LLAVA[0], "start": None, "colour": None}, second]))
    assert table == read_manifest(write(tmp_path / "rows.json", [LLAVA[0], second]))
    assert table[1].start == 1.5 and table[0].start is None
    with pytest.raises(ManifestError, match=r"bad\.parquet: row 2: field 'path'"):
        read_manifest(parquet(tmp_path / "bad.parquet", [{"path": "a.mp4"}, {"path": None}]))
    (tmp_path / "noise.parquet").write_bytes(b"PAR1 no, not at all")
    with pytest.raises(ManifestError, match=r"noise\.parquet: not a Parquet file"):
        read_manifest(tmp_path / "noise.parquet")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"rows\.parquet: .*pip install 'liteframe-video\[parquet\]'"):
        read_manifest(tmp_path / "rows.parquet")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "x", "conversations": TALK}, r"field 'path' \(or 'video'\)"),
        ({"video": ["a.mp4", "b.mp4"], "conversations": TALK}, "field 'video': one video a row is needed, not 2"),
        ({"videos": [], "conversations": TALK}, "the path of a video file is needed, not None; .*a row about pictures"),
        ({"video": 3}, "field 'video'"),
        ("a.mp4", "a row is a JSON object"),
    ],
)
def test_bad_rows_name_list_row_and_field(row: object, message: str, tmp_path: Path) -> None:
    listed = write(tmp_path / "x.json", [LLAVA[0], row])
    with pytest.raises(ManifestError, match=rf"x\.json: row 2: .*{message}"):
        read_manifest(listed)


def test_a_list_that_is_no_list_says_so(tmp_path: Path) -> None:
    (tmp_path / "cut.json").write_text('[\n{"video": "a.mp4"},\n{"vid')
    with pytest.raises(ManifestError, match=r"cut\.json:3: not JSON"):
        read_manifest(tmp_path / "cut.json")
    with pytest.raises(ManifestError, match="empty"):
        read_manifest(write(tmp_path / "none.json", []))
    (tmp_path / "a.mp4").touch()
    with pytest.raises(ManifestError, match="root is '/r'"):
        read_manifest(tmp_path, "/r")


def test_ids_of_sources_that_repeat_each_other_stay_apart(tmp_path: Path) -> None:
    twice = write(tmp_path / "x.json", [{"id": "a", "video": "a.mp4"}, {"id": "a", "video": "b.mp4"}])
    rows = read_manifests([str(twice)] * 3)
    assert len({row.id for row in rows}) == 6 and [row.id for row in rows[:3]] == ["a", "a@2", "a@1"]
