from __future__ import annotations

import os
from pathlib import Path

import pytest
from published_layouts import LAYOUTS, touch

from liteframe.errors import DataError, ManifestError
from liteframe.evaluation.benchmarks.archives import unpack
from liteframe.evaluation.benchmarks.data_folder import DataFolder
from liteframe.evaluation.benchmarks.question import Question, Unusable
from liteframe.evaluation.benchmarks.registry import benchmark


@pytest.mark.parametrize("ending", [".mp4", ".MP4", ".mkv", ".webm", ".Mov"])
def test_a_video_is_found_whatever_its_ending(ending: str, tmp_path: Path) -> None:
    touch(tmp_path, f"data/a.b{ending}")
    data = DataFolder(tmp_path)
    assert data.video("a.b", ("data",)) == data.video("a.b.mp4", ("data",)) == f"data/a.b{ending}"


def test_names_that_differ_in_case_are_two_videos(tmp_path: Path) -> None:
    touch(tmp_path, "data/aB.mp4", "data/ab.mp4")
    assert DataFolder(tmp_path).video("ab") == "data/ab.mp4"
    with pytest.raises(ManifestError, match="no such file"):
        DataFolder(tmp_path).video("AB")


def test_the_published_folder_comes_first_and_a_doubt_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "chunk/data/a.mp4", "data/a.mp4", "x/b.mp4", "y/b.mp4", "c.mp4", "c.mkv")
    for name in ("x/b.mp4", "c.mkv", "data/a.mp4"):
        (tmp_path / name).write_bytes(b"another video")
    data = DataFolder(tmp_path)
    assert data.video("a", ("data",)) == "data/a.mp4"
    assert data.video("c.mkv") == "c.mkv"
    for name in ("b", "c"):
        with pytest.raises(ManifestError, match=f"there are .*{name}.*, and they differ; keep one of them"):
            data.video(name, ("data",))
    with pytest.raises(ManifestError, match="no such file"):
        data.video("b", ("data",), anywhere=False)


def test_the_same_file_in_two_places_is_one(tmp_path: Path) -> None:
    touch(tmp_path, "b/x/s.srt", "a/x/s.srt", "deep/down/v.mp4", "z/v.mp4", "a/f/p/1.jpg", "f/p/1.jpg")
    for path in tmp_path.rglob("*.*"):
        path.write_bytes(path.name.encode() * 100)
    data = DataFolder(tmp_path)
    assert data.subtitles("s", ("x",), ".srt") == "a/x/s.srt"
    assert data.video("v") == "z/v.mp4"
    assert data.picture_folder("p", ("f",)) == "f/p"
    (tmp_path / "b/x/s.srt").write_bytes(b"S.srt" * 100)  # as long, and another
    touch(tmp_path, "a/f/p/2.jpg")
    data = DataFolder(tmp_path)
    with pytest.raises(ManifestError, match=r"a/x/s.srt, b/x/s.srt, and they differ"):
        data.subtitles("s", ("x",), ".srt")
    with pytest.raises(ManifestError, match="f/p, a/f/p, and they differ"):
        data.picture_folder("p", ("f",))
    touch(tmp_path, "x/s.srt")
    assert DataFolder(tmp_path).subtitles("s", ("x",), ".srt") == "x/s.srt"  # as it is published


@pytest.mark.parametrize("name", ["../secret.mp4", "/etc/secret.mp4", "a/../../secret.mp4", "", "a\0b"])
def test_no_name_leads_out(name: str, tmp_path: Path) -> None:
    touch(tmp_path, "secret.mp4", "root/a.mp4")
    with pytest.raises(ManifestError, match="correct the row"):
        DataFolder(tmp_path / "root").video(name)


def test_no_link_leads_out_and_one_inside_is_its_file(tmp_path: Path) -> None:
    touch(tmp_path, "secret.mp4", "root/data/a.mp4", "elsewhere/d.mp4")
    (tmp_path / "root/data/out.mp4").symlink_to(tmp_path / "secret.mp4")
    (tmp_path / "root/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root/data/b.mp4").symlink_to("a.mp4")
    data = DataFolder(tmp_path / "root")
    assert data.video("b") == "data/a.mp4"  # the same file, so one video in intervals
    with pytest.raises(ManifestError, match=r"data/out.mp4 is a link that leads out of .*--local-dir"):
        data.video("out")
    with pytest.raises(ManifestError, match="no such file"):
        data.video("d")
    with pytest.raises(DataError, match="more is a link that leads out|data/out.mp4 is a link that leads out"):
        data.lists("*.parquet")


def test_links_of_the_hubs_cache_to_their_own_blobs_are_followed(tmp_path: Path) -> None:
    repository = tmp_path / "datasets--a--b"
    touch(repository, "blobs/12ab", "blobs/34cd")
    touch(tmp_path, "secret.mp4")
    snapshot = repository / "snapshots" / "ef56"
    (snapshot / "data").mkdir(parents=True)
    (snapshot / "data" / "x.mp4").symlink_to("../../../blobs/12ab")
    (snapshot / "data" / "out.mp4").symlink_to(tmp_path / "secret.mp4")
    data = DataFolder(snapshot)
    assert data.video("x") == "data/x.mp4"
    with pytest.raises(ManifestError, match="leads out of"):
        data.video("out")


def test_a_row_that_leads_out_is_left_out(tmp_path: Path) -> None:
    root = tmp_path / "root"
    LAYOUTS["longvideobench"].write(root)
    touch(tmp_path, "secret.mp4")
    path = root / "lvb_val.json"
    path.write_text(path.read_text().replace('"vid1.mp4"', '"../../secret.mp4"', 1))
    rows = benchmark("longvideobench").read(root)
    assert [row.id for row in rows if isinstance(row, Question)] == ["vid0_0", "vid2_0"]
    assert any("leads out of" in row.why for row in rows if isinstance(row, Unusable))


def test_what_is_still_packed_is_named_with_what_unpacks_it(tmp_path: Path) -> None:
    LAYOUTS["video-mme"].write(tmp_path)
    for path in [*tmp_path.rglob("-vid*")]:
        path.unlink()
    touch(tmp_path, "videos_chunked_01.zip", "videos_chunked_02.zip", "subtitle.zip", "more.tar.part.aa", "x.pkl")
    touch(tmp_path, "more.tar.part.ab")
    with pytest.raises(DataError) as raised:
        benchmark("video-mme").read(tmp_path)
    told = str(raised.value)
    assert "no such file" in told and "more.tar.part.aa to more.tar.part.ab, subtitle.zip" in told
    assert f"--data {tmp_path} --unpack" in told and "Pickles are never opened" in told and "and 1 more" in told


def test_pipes_are_no_files(tmp_path: Path) -> None:
    LAYOUTS["longvideobench"].write(tmp_path)
    for name in ("a_lvb_val.json", "subtitles/vid1_en.json", "videos/vid9.mp4", "videos.zip"):
        os.mkfifo(tmp_path / name)
    unpack(tmp_path)
    asked = [row for row in benchmark("longvideobench").read(tmp_path) if isinstance(row, Question)]
    assert [(row.id, row.subtitles) for row in asked[:2]] == [("vid0_0", "subtitles/vid0_en.json"), ("vid1_0", None)]
    assert len(asked) == 3


def test_hidden_files_are_no_videos(tmp_path: Path) -> None:
    touch(tmp_path, "data/._a.mp4", ".cache/huggingface/a.mp4")
    with pytest.raises(ManifestError, match="no such file"):
        DataFolder(tmp_path).video("a")
