"""A file never makes a decoder open another one, nor a connection."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hostile_videos import PLAYLISTS, with_external_track
from installed_decoders import CHOOSY, INSTALLED
from painted_videos import number_of, write_video

from liteframe.data.decoding import decord_reader
from liteframe.data.decoding.decode import probe, read_frames, read_frames_by
from liteframe.data.decoding.processes.pool import DecodeJob, DecodePool
from liteframe.errors import DecodeError, DecodeTimeout


@pytest.fixture(scope="module")
def pools() -> Iterator[list[DecodePool]]:
    """A process for each decoder, so that one which waits for what a list names is killed and seen."""
    pools = [DecodePool(deadline_s=15, decoder=name) for name in INSTALLED]
    yield pools
    for pool in pools:
        pool.close()


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """Address of a server, and what it was asked for."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/secret.ts", paths
        server.shutdown()


def errors(pools: list[DecodePool], path: Path) -> list[DecodeError]:
    results = [pool.run([DecodeJob(str(path), indices=(0,))])[0] for pool in pools]
    assert all(isinstance(result, DecodeError) and not isinstance(result, DecodeTimeout) for result in results)
    return results  # type: ignore[return-value]


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_playlist_of_any_name_is_refused_and_not_followed(
    pools: list[DecodePool], asked: tuple[str, list[str]], tmp_path: Path, kind: str
) -> None:
    address, paths = asked
    os.mkfifo(tmp_path / "secret.ts")  # who opens it waits until the deadline
    for ending in (kind, "mp4", "ts", "mkv"):
        for number, target in enumerate(("secret.ts", str(tmp_path / "secret.ts"), address)):
            file = tmp_path / f"{number}.{ending}"
            file.write_text(PLAYLISTS[kind].format(target))
            for error in errors(pools, file):
                assert "which names other files" in error.reason
    assert paths == []


def test_a_playlist_before_a_real_stream_is_refused(pools: list[DecodePool], tmp_path: Path) -> None:
    """The old FFmpeg in decord follows such a file where a new one reads the stream."""
    stream = write_video(tmp_path / "a.ts", 20).read_bytes()
    os.mkfifo(tmp_path / "secret.ts")
    for ending in ("ts", "mp4"):
        file = tmp_path / f"both.{ending}"
        file.write_bytes(PLAYLISTS["m3u8"].format("secret.ts").encode().ljust(188, b"\n") + stream)
        assert all("playlist" in error.reason for error in errors(pools, file))


def test_decord_is_given_no_file_that_could_be_taken_for_another(tmp_path: Path) -> None:
    stream = write_video(tmp_path / "a.ts", 20).read_bytes()
    odd = tmp_path / "odd.ts"
    odd.write_bytes(b"G is not the first byte of a packet" + stream)
    frames, info = read_frames_by(str(odd), [3, 9])
    assert info.decoder == "pyav" and [number_of(frame) for frame in frames] == [3, 9]
    if decord_reader.available():
        with pytest.raises(DecodeError, match="begin like this one: use 'pyav'"):
            read_frames(str(odd), [3], "decord")


def test_formats_that_are_not_on_the_list_are_not_opened(pools: list[DecodePool], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "subtitles.sub")  # the format opens the file of this name
    index = tmp_path / "subtitles.idx"
    index.write_text("# VobSub index file, v7 (do not modify this line!)\nid: en, index: 0\n")
    assert all("is a text ('# VobSub index" in error.reason for error in errors(pools, index))


def test_a_track_that_lies_in_another_file_is_not_followed(pools: list[DecodePool], tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    secret = write_video(tmp_path / "films" / "secret.mp4", 20)
    data = secret.read_bytes()
    secret.unlink()
    os.mkfifo(secret)
    for ending in ("mov", "mp4"):
        file = tmp_path / "films" / f"outside.{ending}"
        file.write_bytes(with_external_track(data, "/films/secret.mp4"))
        assert all("lies in another file" in error.reason for error in errors(pools, file))


@pytest.mark.parametrize("decoder", INSTALLED)
@pytest.mark.parametrize(
    "name",
    [
        *("concat:a.mp4|b.mp4", "file:x.mp4", "http:x.mp4", "crypto:x.mp4", "data:video.mp4", "-i.mp4", "pipe:0"),
        *("subfile,,start,0,end,10,,:x.mp4", "frames%03d.png", "a?b*{1,2}.jpg", "two\nlines.mp4", "not\udcffutf8.mp4"),
    ],
)
def test_a_name_is_never_a_protocol_a_pattern_or_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, decoder: str
) -> None:
    monkeypatch.chdir(tmp_path)
    os.rename(write_video(tmp_path / "plain.mp4", 20), name)
    try:
        frames = read_frames(name, [2, 11], decoder)
    except DecodeError as error:
        assert decoder in CHOOSY and decoder in error.reason  # which may refuse a name, never mistake it
    else:
        assert [number_of(frame) for frame in frames] == [2, 11]
    assert probe(name).frames == 20
