"""A file that is given as the source is one video, whatever its ending, or a list."""

from __future__ import annotations

import gzip
import io
import json
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from painted_videos import write_video

from liteframe.data.remote.content import not_a_video
from liteframe.data.sources.file_kind import is_video
from liteframe.data.sources.manifest import read_manifest
from liteframe.errors import ManifestError


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
    path.write_bytes(gzip.compress(b'{"path": "a.mp4"}\n'))
    assert is_video(path)


@pytest.mark.parametrize("name, between", [("a table.csv", ","), ("a.tsv", "\t")])
def test_a_table_says_how_a_list_is_made_of_it(name: str, between: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(f"path{between}question\n/v/a.mp4{between}what?\n")
    with pytest.raises(ManifestError, match="is a table, not a list of JSON objects") as caught:
        read_manifest(path)
    command = shlex.split(str(caught.value).partition("make one of it by ")[2])
    assert command[:2] == ["python", "-c"] and command[3:] == ["<", name, ">", f"{path.stem}.jsonl"]
    made = subprocess.run([sys.executable, *command[1:3]], input=path.read_bytes(), capture_output=True, check=True)
    (tmp_path / command[-1]).write_bytes(made.stdout)
    assert [(row.path, row.question) for row in read_manifest(tmp_path / command[-1])] == [("/v/a.mp4", "what?")]


def test_plain_lines_and_nothing_at_all_are_no_lists(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a.mp4\nb.mp4\n")
    with pytest.raises(ManifestError, match="is text, but no list of JSON objects"):
        read_manifest(tmp_path / "a.txt")
    with pytest.raises(ManifestError, match="path of a list of videos is empty"):
        read_manifest("")


def test_a_tar_archive_is_called_so() -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.mp4"), io.BytesIO())
    assert "a tar archive" in not_a_video(data.getvalue()[:1024])
