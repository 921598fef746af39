from __future__ import annotations

import io
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest
from hostile_videos import PLAYLISTS
from painted_videos import number_of, restore_priority, write_video

from liteframe.data.decoding.containers.formats import HEAD_BYTES, SELF_CONTAINED, is_unmistakable, playlist_kind
from liteframe.data.decoding.decode import frame_times, read_frames
from liteframe.errors import DecodeError


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


def test_what_cannot_be_opened_is_named_by_its_first_bytes(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", 4).read_bytes()
    write_video(tmp_path / "photo.mjpeg", 1, "mjpeg", pixel_format="yuvj420p")
    jpeg = (tmp_path / "photo.mjpeg").read_bytes()
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)
    for name, data, words in (
        ("motion.mp4", jpeg + video, r"is a picture \(JPEG\)"),
        ("b.mp4", heic, r"is a picture \(HEIC\)"),
        ("._c.mp4", b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(4000), "is a side file of macOS, not the video"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DecodeError, match=words):
            read_frames(str(tmp_path / name), [0])


def test_moving_pictures_are_read_at_their_times(tmp_path: Path) -> None:
    """GIF, APNG and AVIF, under their own endings and those of a video; GIF counts hundredths of a second."""
    times = [0, 40, 120, 240, 280, 680, 720, 1000]
    gif = write_video(tmp_path / "a.gif", 8, "gif", times=times, pixel_format="bgr8")
    kinds = {gif: times}
    kinds[write_video(tmp_path / "a.apng", 8, "apng", pixel_format="rgb24")] = [40 * number for number in range(8)]
    if "libsvtav1" in av.codecs_available and "avif" in av.formats_available:
        avif = write_video(tmp_path / "a.avif", 8, "libsvtav1", {"crf": "20"})
        restore_priority()
        kinds[avif] = [40 * number for number in range(8)]
    for path, expected in kinds.items():
        copy = path.with_name(f"{path.suffix[1:]}.mp4")
        copy.write_bytes(path.read_bytes())
        for file in map(str, (path, copy)):
            frames = read_frames(file, list(range(8)))
            assert [number_of(frame) for frame in frames] == list(range(8)), file
            assert [number_of(frame) for frame in read_frames(file, [6, 2])] == [6, 2], file
            assert np.allclose(frame_times(file) * 1000, expected, atol=1), file


@pytest.mark.parametrize("name", ["a.webp", "a.mp4"])
def test_an_animated_webp_is_refused_by_its_name_and_a_still_one_is_a_picture(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    head = b"RIFF\x28\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0\x3f\0\0\x3f\0\0ANIM\x06\0\0\0" + bytes(30)
    path.write_bytes(head)
    with pytest.raises(DecodeError, match="animated WebP, which FFmpeg does not decode: convert it"):
        read_frames(str(path), [0])
    if "libwebp" in av.codecs_available:
        still = write_video(tmp_path / "still.webp", 1, "libwebp")
        path.write_bytes(still.read_bytes())
        assert number_of(read_frames(str(path), [0])[0]) == 0


def zipped() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        file.writestr("a.mp4", b"x" * 100)
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (
            b"<!DOCTYPE html><title>Not found</title>" + b" " * 5000,
            r"a web page \('Not found'\), not a video",
        ),
        (b'{"error": "rate limit"}', r"a JSON text \('\{\"error\": \"rate limit\"\}'\), not a video"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", r"a Git LFS pointer; .*`git lfs pull`"),
        (zipped(), "a ZIP archive"),
        (b"%PDF-1.4\n" + bytes(range(256)), "a PDF"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "an XML text"),
        (b"hello\n" * 100, r"a text \('hello hello"),
        (bytes(10_000), "a row of zero bytes, .*; fetch it again"),
        (bytes(100), "a row of zero bytes, .*; fetch it again"),
    ],
    ids=["html", "json", "lfs", "zip", "pdf", "xml", "text", "zeros", "few zeros"],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.gif", "noending"])
def test_what_is_no_video_is_named(data: bytes, kind: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DecodeError, match=f": is {kind}"):
        read_frames(str(path), [0])
