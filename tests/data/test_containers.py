from __future__ import annotations

from pathlib import Path

import av
import pytest
from hostile_videos import PLAYLISTS
from painted_videos import write_video

from liteframe.data.containers import HEAD_BYTES, SELF_CONTAINED, is_unmistakable, playlist_kind


@pytest.mark.parametrize("ending", PLAYLISTS)
def test_a_playlist_is_told_by_its_first_bytes(ending: str) -> None:
    text = PLAYLISTS[ending].format("other.ts").encode()
    for head in (text, b"\xef\xbb\xbf" + text, b"\r\n  " + text):
        assert playlist_kind(head)
    assert not playlist_kind(b"\0" + text)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm", "a.avi", "a.flv", "a.ts", "a.m2ts", "a.mpg"])
def test_a_video_of_a_usual_kind_is_unmistakable_and_no_playlist(tmp_path: Path, name: str) -> None:
    codecs = {"a.webm": "libvpx", "a.mpg": "mpeg2video", "a.flv": "flv"}
    path = write_video(tmp_path / name, 12, codecs.get(name, "libx264"))
    head = path.read_bytes()[:HEAD_BYTES]
    with av.open(str(path)) as container:
        assert is_unmistakable(container.format.name, head)
    assert playlist_kind(head) == ""
    assert not is_unmistakable("mov,mp4", b"#EXTM3U\n" + head) and not is_unmistakable("mpegts", b"#EXTM3U\n" + head)


def test_the_list_of_formats_names_real_ones_and_none_that_follows_names() -> None:
    names = SELF_CONTAINED.split(",")
    assert len(names) == len(set(names))
    known = {name for entry in av.formats_available for name in entry.split(",")}
    assert set(names) - known <= {"evc", "vvc", "jpegxl_anim", "jpegxl_pipe", "avs3"}  # in newer FFmpegs only
    assert not {"hls", "dash", "concat", "sdp", "rtsp", "rtp", "imf", "image2", "lavfi", "vobsub", "tty"} & set(names)
