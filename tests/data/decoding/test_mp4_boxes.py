from __future__ import annotations

import struct
from pathlib import Path

import av
import pytest
from hostile_videos import rewrite
from painted_videos import write_video

from liteframe.data.decoding.containers.mp4_boxes import layout_doubt

_EDITS = (b"moov", b"trak", b"edts", b"elst")


def track_of(path: Path) -> int:
    with av.open(str(path)) as container:
        return container.streams.video[0].id


def doubt_of(path: Path, track: int) -> str:
    with open(path, "rb") as file:
        return str(layout_doubt(file, track) or "")


@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
@pytest.mark.parametrize("flags", ["faststart", "negative_cts_offsets"])
def test_a_usual_file_is_plain(tmp_path: Path, name: str, flags: str) -> None:
    path = write_video(tmp_path / name, 12, options={"bf": "2"}, container_options={"movflags": flags})
    assert doubt_of(path, track_of(path)) == ""
    assert "have the number 7" in doubt_of(path, 7)


@pytest.mark.parametrize("flags", ["frag_keyframe+empty_moov", "frag_keyframe", "dash"])
def test_fragments_are_seen(tmp_path: Path, flags: str) -> None:
    path = write_video(tmp_path / "a.mp4", 24, options={"g": "6"}, container_options={"movflags": flags})
    assert "fragmented" in doubt_of(path, track_of(path))


@pytest.mark.parametrize(
    "edits, doubt",
    [
        ([(1000, 0, 1)], ""),
        ([(500, -1, 1), (1000, 0, 1)], ""),
        ([(500, 0, 1), (500, 2048, 1)], "2 parts"),
        ([(500, -1, 1)], "not the usual one"),
        ([(1000, 0, 2)], "not the usual one"),
    ],
)
@pytest.mark.parametrize("wide", [False, True])
def test_edit_lists_are_read(tmp_path: Path, edits: list[tuple[int, int, int]], doubt: str, wide: bool) -> None:
    path = write_video(tmp_path / "a.mp4", 12, options={"bf": "2"})
    track = track_of(path)
    entries = b"".join(struct.pack(">Qqhh" if wide else ">Iihh", *edit, 0) for edit in edits)
    path.write_bytes(rewrite(path.read_bytes(), _EDITS, struct.pack(">II", wide << 24, len(edits)) + entries))
    told = doubt_of(path, track)
    assert doubt in told if doubt else told == ""


def test_boxes_that_do_not_fit_are_a_doubt_and_never_an_exception(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "a.mp4", 12)
    data, track = whole.read_bytes(), track_of(whole)
    path, start = tmp_path / "b.mp4", data.index(b"moov") - 4
    doubts = 0
    for place in range(start, len(data), 5):
        path.write_bytes(data[:place] + b"\xff\x80" + data[place + 2 :])
        doubts += doubt_of(path, track) != ""
        path.write_bytes(data[:place])
        doubts += doubt_of(path, track) != ""
    assert doubts > 100
    path.write_bytes(bytes(8) + struct.pack(">I4s", 8, b"free") * 20_000)
    assert doubt_of(path, 1) != ""
