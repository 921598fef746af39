"""A file that is given as the source is one video, whatever its ending, or a list."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest
from painted_videos import write_video

from liteframe.data.remote.content import not_a_video
from liteframe.data.sources.file_kind import is_video
from liteframe.data.sources.manifest import read_manifest, read_sources
from liteframe.errors import ManifestError

GZIP = gzip.compress(b'{"path": "a.mp4"}\n', mtime=0)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("clips")
    kinds = {"mp4": "libx264", "mkv": "libx264", "webm": "libvpx", "avi": "mpeg4", "ts": "libx264", "h264": "libx264"}
    clips = {kind: write_video(folder / f"a.{kind}", 3, codec).read_bytes() for kind, codec in kinds.items()}
    return clips | {"gif": write_video(folder / "a.gif", 3, "gif", pixel_format="rgb8").read_bytes()}


@pytest.mark.parametrize(
    "name",
    ["A.MOV", "a.mts", "noending", "a.unknown", "a.mp4.part", "-i.mp4", "f%03d", "a:b", "concat:x", "n\nl"],
)
def test_a_single_file_of_any_name_is_a_video(name: str, clips: dict[str, bytes], tmp_path: Path) -> None:
    for kind, data in clips.items():
        path = tmp_path / name
        path.write_bytes(data)
        (row,) = read_manifest(path)
        assert row.path == str(path) and row.id == name, kind


@pytest.mark.parametrize("name", ["list", "list.txt", "list.mp4list", "list.jsonl", "list.JSON"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_text_is_a_list_whatever_its_ending(name: str, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(json.dumps({"path": "/v/ä.mp4"}, ensure_ascii=False) + "\n", encoding=encoding)
    assert [row.path for row in read_manifest(path)] == ["/v/ä.mp4"]


def test_a_list_is_no_video_though_a_row_of_it_holds_what_text_does_not(tmp_path: Path) -> None:
    for number, data in enumerate((b'\n {"path": "a\0"}\n', "{}".encode("utf-16"), b"\xff no JSON\n")):
        path = tmp_path / str(number)
        path.write_bytes(data)
        assert not is_video(path)


def test_a_parquet_file_is_known_without_its_ending(tmp_path: Path) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table({"path": ["/v/a.mp4"]}), tmp_path / "list")
    assert [row.path for row in read_manifest(tmp_path / "list")] == ["/v/a.mp4"]


def test_what_is_neither_is_named_as_a_video_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl.gz"
    path.write_bytes(GZIP)
    assert is_video(path)


@pytest.mark.parametrize(
    ("name", "data", "named"),
    [
        ("list.jsonl.gz", GZIP, "is a gzip archive; give a list"),
        ("list.jsonl", GZIP, "is a gzip archive; give a list"),
        (
            "list.json",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "is a Git LFS pointer; .*git lfs pull",
        ),
        ("list.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
        ("list.jsonl", b"<!doctype html><title>Sign in</title>", r"is a web page \('Sign in'\); give a list"),
        ("list.arrow", b"ARROW1\0\0" + bytes(9), "is an Arrow file"),
        ("list.pkl", b"\x80\x04\x95" + bytes(9), "is a pickle"),
        ("list.xlsx", b"PK\x03\x04" + bytes(9), "is a ZIP archive"),
        ("list.csv", b"video,question\na.mp4,What?\n", r"is a table in text, .*dtype=str, keep_default_na=False\)"),
        ("list.TSV", b"\xef\xbb\xbfvideo\tquestion\n", "is a table in text"),
        ("mix.yaml", b"datasets:\n  - json_path: a.json\n", "is YAML, .* mixed by data.train"),
    ],
)
def test_what_is_no_list_is_told_by_what_it_is(name: str, data: bytes, named: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    for keep in (False, True):
        with pytest.raises(ManifestError, match=f"/{name}: {named}"):
            read_manifest(path, keep_unusable=keep)
    with pytest.raises(ManifestError, match=f"/{name}: {named}"):
        read_sources(str(path), keep_unusable=True)


def test_a_long_list_that_is_none_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liteframe.data.sources.kept_tables.LONG_LIST", 0)
    (tmp_path / "list.jsonl").write_bytes(GZIP)
    with pytest.raises(ManifestError, match=r"/list\.jsonl: is a gzip archive"):
        read_sources(str(tmp_path / "list.jsonl"))


def test_rows_of_json_are_a_list_under_any_ending(tmp_path: Path) -> None:
    for name in ("list.csv", "list.yaml"):
        (tmp_path / name).write_text('{"path": "/v/a.mp4"}\n')
        assert [row.path for row in read_manifest(tmp_path / name)] == ["/v/a.mp4"]


def test_a_table_in_text_is_read_as_it_says_once_it_is_written_as_told(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    text = "video,question,answer,start,end,conversations\n0012.mp4,What is it?,None,3,7.5,\n0013.mp4,What?,N/A,,,\n"
    (tmp_path / "list.csv").write_text(text)
    table = pandas.read_csv(tmp_path / "list.csv", dtype=str, keep_default_na=False)
    table.to_json(tmp_path / "list.jsonl", orient="records", lines=True)
    first, second = read_manifest(tmp_path / "list.jsonl")
    assert (first.path, first.answer, first.start, first.end) == (str(tmp_path / "0012.mp4"), "None", 3.0, 7.5)
    assert (second.answer, second.start, second.end, second.conversations) == ("N/A", None, None, None)


def test_a_tar_archive_is_called_so() -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.mp4"), io.BytesIO())
    assert "a tar archive" in not_a_video(data.getvalue()[:1024])
