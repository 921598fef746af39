"""Videos of a feature store are told by their content, wherever they lie."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

from liteframe.data.sources.manifest import VideoSource
from liteframe.data.store.videos import VideoPlaces, difference, folder_of_sources, video_facts
from liteframe.errors import DecodeError


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def record_of(path: Path, folder: Path | None) -> dict[str, Any]:
    return {"path": str(path), **video_facts(str(path), None if folder is None else str(folder))}


def places(root: Path | None, *records: dict[str, Any]) -> VideoPlaces:
    return VideoPlaces(None if root is None else str(root), Records(records))


class Records:
    def __init__(self, records: tuple[dict[str, Any], ...]) -> None:
        self.records = records

    def __call__(self) -> tuple[dict[str, Any], ...]:
        return self.records


@pytest.mark.parametrize("size", [0, 10, 1 << 16, 3 << 16])
def test_a_copy_is_the_same_video_and_any_other_file_is_not(size: int, tmp_path: Path) -> None:
    content = bytes(i * 7 % 256 for i in range(size))
    record = record_of(write(tmp_path / "a.mp4", content), tmp_path)
    assert record["name"] == "a.mp4" and record["bytes"] == size
    assert difference(record, str(write(tmp_path / "copy.mp4", content))) is None
    assert "bytes" in str(difference(record, str(write(tmp_path / "longer.mp4", content + b"x"))))
    for position in {0, size // 4, size - 1} if size in (10, 1 << 16) else ():
        changed = bytearray(content)
        changed[position] ^= 1
        assert "content" in str(difference(record, str(write(tmp_path / "changed.mp4", bytes(changed)))))


def test_urls_and_entries_of_older_stores_are_told_by_their_place(tmp_path: Path) -> None:
    assert video_facts("https://a.b/c.mp4", str(tmp_path)) == {}
    old = {"path": str(write(tmp_path / "a.mp4", b"a"))}
    assert difference(old, str(tmp_path / "a.mp4")) is None
    assert places(None, old).locate(old) == str(tmp_path / "a.mp4")
    remote = {"path": "s3://bucket/c.mp4"}
    assert places(tmp_path, remote).locate(remote) == "s3://bucket/c.mp4"


def test_the_folder_of_names_is_that_of_the_list_or_what_several_share(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    listed, rooted = VideoSource(str(tmp_path / "lists/a.json")), VideoSource("b.json", root=str(tmp_path / "x"))
    assert folder_of_sources([listed]) == str(tmp_path / "lists")
    assert folder_of_sources([rooted]) == str(tmp_path / "x")
    assert folder_of_sources([VideoSource(str(tmp_path / "videos"))]) == str(tmp_path / "videos")
    assert folder_of_sources([listed, rooted]) == str(tmp_path)
    assert folder_of_sources([VideoSource("c.json", root="s3://bucket")]) is None


@pytest.mark.parametrize("named", [True, False])
def test_a_root_stands_for_the_folder_of_the_list(named: bool, tmp_path: Path) -> None:
    paths = [write(tmp_path / "old/a/1.mp4", b"one"), write(tmp_path / "old/b/2.mp4", b"two")]
    records = [record_of(path, tmp_path / "old") if named else {"path": str(path)} for path in paths]
    (tmp_path / "old").rename(tmp_path / "new")
    moved = places(tmp_path / "new", *records)
    assert [moved.locate(record) for record in records] == [
        str(tmp_path / "new" / p.relative_to(tmp_path / "old")) for p in paths
    ]
    assert pickle.loads(pickle.dumps(moved)).locate(records[0]) == moved.locate(records[0])
    with pytest.raises(DecodeError, match=r"old/a/1\.mp4: no such file; .*data\.store_root"):
        places(None, *records).locate(records[0])
    with pytest.raises(DecodeError, match=r"x/a/1\.mp4: no such file"):
        places(tmp_path / "x", *records).locate(records[0])


def test_where_a_run_went_on_elsewhere_both_halves_are_found_there(tmp_path: Path) -> None:
    first = record_of(write(tmp_path / "old/1.mp4", b"one"), tmp_path / "old")
    shutil.move(tmp_path / "old", tmp_path / "new")
    second = record_of(write(tmp_path / "new/2.mp4", b"two"), tmp_path / "new")
    found = places(None, first, second)
    assert found.locate(first) == str(tmp_path / "new/1.mp4") and found.locate(second) == str(tmp_path / "new/2.mp4")


def test_another_file_in_its_place_is_not_used(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", b"first")
    record = record_of(path, tmp_path)
    for content in (b"other", b"longer"):
        path.write_bytes(content)
        with pytest.raises(DecodeError, match=r"a\.mp4: is another file than the feature store was made of"):
            places(None, record).locate(record)


@pytest.mark.parametrize("odd", [{"name": 5}, {"name": "\0"}, {"bytes": "x"}, {"ends_sha256": []}, {"name": ""}])
def test_odd_records_of_a_store_from_elsewhere_are_errors_by_name(odd: dict[str, Any], tmp_path: Path) -> None:
    record = {**record_of(write(tmp_path / "a/1.mp4", b"one"), tmp_path), **odd}
    for root in (None, tmp_path / "b"):
        try:
            places(root, record).locate(record)
        except DecodeError as error:
            assert "1.mp4" in str(error) or "\0" in str(error)
