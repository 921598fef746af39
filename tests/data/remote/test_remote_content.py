"""What may be a video at the first look, and what is cut short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from painted_videos import write_video
from video_server import VIDEO_START

from liteframe.data.remote.content import HEAD_BYTES, missing_bytes, not_a_video

PAGE = b"<!DOCTYPE html>\n<html><head><title>Google Drive - Quota exceeded</title></head><body>Sorry</body></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"ab" * 32 + b"\nsize 27086121\n"


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (PAGE, r"a web page \('Google Drive - Quota exceeded'\)"),
        (b"  \r\n\t<HTML>\n" + b"x" * 2000, "a web page"),
        (b"\xef\xbb\xbf" + PAGE, "a web page"),
        (b"\xff\xfe" + PAGE.decode().encode("utf-16-le"), "a web page"),
        (b"\xfe\xff" + PAGE.decode().encode("utf-16-be"), "a web page"),
        (b"<head><meta charset=latin-1><title>Zugang gesperrt f\xfcr Sie", "a web page"),
        (POINTER, "a Git LFS pointer"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML text .*AccessDenied"),
        (b'{"error": "rate limited"}', "a JSON text .*rate limited"),
        (b"Moved. Please sign in: \xd7\xa9\xd7", "a text"),
        (b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n", "a playlist"),
        (b"\x1f\x8b\x08" + bytes(9), "a gzip archive"),
        (b"PK\x03\x04" + bytes(9), "a ZIP archive"),
        (b"%PDF-1.7", "a PDF"),
        (b"\0\5\x16\7\0\2\0\0Mac OS X        ", "a side file of macOS, not the video"),
        (b"", "empty"),
    ],
)
def test_what_is_no_video_is_named(head: bytes, words: str) -> None:
    assert re.search(words, not_a_video(head[:HEAD_BYTES]))


@pytest.mark.parametrize(
    "head",
    [
        VIDEO_START,
        b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01webm",
        b"RIFF\x10\x27\0\0AVI LIST",
        b"\x47\x40\x11\x10\0\x42\xf0" + b"\xff" * 180,
        b"\0\0\1\xba\x44",
        b"\0\0\0\1\x67\x64",
        b"FLV\x01\x05\0\0\0\x09",
        b"OggS\0\2",
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
        b"YUV4MPEG2 W64 H64 F25:1\nFRAME\n" + b"@" * 900,
        bytes(1024),
        b"\xff\xfe\0\0\1\2",
    ],
)
def test_what_may_be_a_video_is_left_to_the_decoder(head: bytes) -> None:
    assert not_a_video(head) == ""


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.webm", "libvpx-vp9")])
def test_every_cut_of_a_container_is_seen(name: str, codec: str, tmp_path: Path) -> None:
    whole = tmp_path / name
    write_video(whole, 12, codec)
    data = whole.read_bytes()
    assert missing_bytes(whole) == 0 and not_a_video(data[:HEAD_BYTES]) == ""
    for share in (0.3, 0.6, 0.9, 0.999):
        whole.write_bytes(data[: int(len(data) * share)])
        assert missing_bytes(whole) > 0, f"cut at {share}"
    whole.write_bytes(data + b"\0trailing bytes of no box")
    assert missing_bytes(whole) == 0


def test_avi_tells_its_length_and_streams_do_not(tmp_path: Path) -> None:
    film = tmp_path / "film"
    film.write_bytes(b"RIFF" + (100).to_bytes(4, "little") + b"AVI " + bytes(50))
    assert missing_bytes(film) == 108 - 62
    for data in (
        b"",
        b"G" * 188,
        b"\x1a\x45\xdf\xa3",
        b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\xff" + bytes(9),
        b"\0" * 40,
    ):
        film.write_bytes(data)
        assert missing_bytes(film) == 0
    film.write_bytes(VIDEO_START + b"\0\0\0\1mdat" + (1 << 62).to_bytes(8, "big"))
    assert missing_bytes(film) == (1 << 62) - 16
