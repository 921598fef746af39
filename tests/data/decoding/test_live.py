"""Streams that go on: the frames of the file reader, as they come, and a plain word where they end or break."""

from __future__ import annotations

import io
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest

import liteframe
from liteframe.data.decoding.live.by_rate import ByRate
from liteframe.data.decoding.live.frames import LiveFrames
from liteframe.data.decoding.live.reading import LiveEnd, LiveFrame, LiveSettings, live_frames
from liteframe.data.decoding.live.source import LiveSource
from liteframe.data.sampling.frame_times import FrameTimes
from liteframe.errors import ConfigError, DecodeError

FRAMES, FPS, SIDE = 60, 20, 48


def stream_bytes(container: str, frames: int = FRAMES, rate: int = FPS) -> bytes:
    """A video with a key frame every ten, each frame of its own brightness, with frames shown in another order."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as muxer:
        stream = muxer.add_stream("libx264", rate=rate)
        stream.width = stream.height = SIDE
        stream.pix_fmt, stream.options = "yuv420p", {"g": "10", "preset": "veryfast", "bf": "2"}
        noise = np.random.default_rng(0).integers(0, 40, (SIDE, SIDE, 3))
        for number in range(frames):
            picture = np.clip(noise + 3 * number, 0, 255).astype(np.uint8)
            muxer.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        muxer.mux(stream.encode(None))
    return file.getvalue()


def read(path: str, fps: float | None = None, idle_s: float = 0.3) -> tuple[list[LiveFrame], LiveEnd]:
    """In this process."""
    *frames, end = live_frames(LiveSettings(LiveSource.of(path), fps, None, idle_s))
    assert isinstance(end, LiveEnd)
    return [frame for frame in frames if isinstance(frame, LiveFrame)], end


def same(frames: list[LiveFrame], path: str, fps: float | None = None) -> None:
    """They are those of the file reader."""
    if fps is None:
        wanted = liteframe.read_video(path, frames=None)
    else:
        wanted = liteframe.read_video(path, frames=10_000, fps=fps)
    np.testing.assert_array_equal(np.stack([frame.frame_HWC for frame in frames]), wanted.frames_THWC)
    assert wanted.times_s is not None
    np.testing.assert_allclose([frame.time_s for frame in frames], wanted.times_s, atol=1e-9)


@pytest.mark.parametrize("name", ["cooking.mp4", "rotated_90.mov", "h265.mp4", "odd_size_vp9.mp4"])
def test_a_file_gives_what_the_file_reader_gives(name: str, shared_videos: Path) -> None:
    path = str(shared_videos / name)
    for fps in (None, 7.0):
        frames, end = read(path, fps)
        same(frames, path, fps)
        assert not end.broken and end.damaged == 0


@pytest.mark.parametrize("container", ["mpegts", "matroska"])
def test_a_growing_file_is_followed(container: str, tmp_path: Path) -> None:
    path, data = tmp_path / "growing", stream_bytes(container)
    path.write_bytes(data[:100])

    def write() -> None:
        with path.open("ab", buffering=0) as file:
            for start in range(100, len(data), len(data) // 7):
                time.sleep(0.05)
                file.write(data[start : start + len(data) // 7])

    with in_background(write):
        frames, end = read(str(path), idle_s=5.0)
    same(frames, str(path))
    assert len(frames) == FRAMES and not end.broken


def test_a_file_that_stops_growing_ends(tmp_path: Path) -> None:
    path = tmp_path / "growing.ts"
    with path.open("wb", buffering=0) as file:
        file.write(stream_bytes("mpegts"))
        frames, end = read(str(path))  # somebody has it open to write, so it is waited for
    assert (len(frames), end.reason) == (FRAMES, "it has not grown for 0.3 s")


def test_a_pipe_ends_with_its_writer(tmp_path: Path) -> None:
    path, copy, data = tmp_path / "pipe", tmp_path / "copy.mkv", stream_bytes("matroska")
    os.mkfifo(path)
    copy.write_bytes(data)
    with in_background(lambda: path.write_bytes(data)):
        frames, end = read(str(path), idle_s=5.0)
    same(frames, str(copy))
    assert end.reason == "its writer has closed it"
    with pytest.raises(DecodeError, match=r"pipe: nothing to see: nothing has come for 0\.3 s"):
        read(str(path))


def test_damage_is_left_out_up_to_the_next_key_frame(tmp_path: Path) -> None:
    data, path, whole = bytearray(stream_bytes("mpegts")), tmp_path / "damaged.ts", tmp_path / "whole.ts"
    whole.write_bytes(data)
    middle = len(data) // 188 // 2 * 188
    data[middle : middle + 3 * 188] = bytes(3 * 188)  # packets that were lost
    path.write_bytes(data)
    frames, end = read(str(path))
    wanted = liteframe.read_video(str(whole), frames=None)
    assert 0 < end.damaged <= 20 and len(frames) >= FRAMES - 20
    for frame in frames:  # each is that of the whole stream at its time
        at = int(np.argmin(np.abs(wanted.times_s - frame.time_s)))
        np.testing.assert_array_equal(frame.frame_HWC, wanted.frames_THWC[at])


def test_what_is_no_stream_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no video " * 1000)
    with pytest.raises(DecodeError, match="text: "):
        read(str(text))
    with pytest.raises(DecodeError, match="no such file"):
        LiveSource.of(str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match="gopher"):
        LiveSource.of("gopher://host/video")
    assert LiveSource.of("rtsp://me:secret@camera/a@b").told == "rtsp://camera/a@b"
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n/etc/passwd\n")
    with pytest.raises(DecodeError, match="is a playlist"):
        read(str(playlist))


def test_http_is_read_and_its_break_told() -> None:
    data = stream_bytes("mpegts")
    with serving(data, len(data)) as url:
        frames, end = read(url, idle_s=5.0)
        assert (len(frames), end.broken) == (FRAMES, False)
    with serving(data[: len(data) // 2], len(data)) as url:
        frames, end = read(url, idle_s=1.0)
        assert 0 < len(frames) < FRAMES and end.broken, end


def test_udp_is_joined_on_its_way() -> None:
    data, port = stream_bytes("mpegts"), free_port()

    def send_all() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(30):  # again and again, as who listens does not say when it begins to
                for start in range(0, len(data), 7 * 188):
                    sender.sendto(data[start : start + 7 * 188], ("127.0.0.1", port))
                    time.sleep(0.0005)

    with in_background(send_all):
        frames, end = read(f"udp://127.0.0.1:{port}", idle_s=1.0)
    assert len(frames) > FRAMES and "nothing has come for 1 s" in end.reason
    times = np.array([frame.time_s for frame in frames])
    assert (np.diff(times) > 0).all()  # though the stream's own go back


def test_rtsp_is_read() -> None:
    data = stream_bytes("mpegts")
    with rtsp_server(data) as url:
        frames, end = read(url, idle_s=2.0)
    assert len(frames) == FRAMES - 1 and end.damaged == 0, end  # a picture is whole when the next one begins


@pytest.mark.parametrize("fps", [0.7, 2.0, 5.0, 29.97, 100.0])
def test_the_rate_is_that_of_files(fps: float) -> None:
    rng = np.random.default_rng(1)
    for starts in (np.arange(90) / 30, np.cumsum(rng.uniform(0.001, 0.9, 60))):
        starts = starts - starts[0]
        end = 2 * starts[-1] - starts[-2]
        rate: ByRate[int] = ByRate(fps)
        given = [rate.push(number, float(start)) for number, start in enumerate(starts)] + [rate.finish()]
        taken = [one[0] for one in given if one is not None]
        assert taken == FrameTimes(starts, 0.0, float(end)).at_rate(fps).tolist()


def test_a_source_waits_or_its_oldest_clips_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "video.mkv"
    path.write_bytes(stream_bytes("matroska"))
    source = LiveSource.of(str(path))
    with LiveFrames(source, None, (28, 28), 4, most_clips=3) as waiting:
        clips = list(until_end(waiting))
        assert waiting.dropped == 0 and [len(clip.frames_THWC) for clip in clips] == [4] * 15
        assert np.allclose(np.concatenate([clip.times_s for clip in clips]), np.arange(FRAMES) / FPS, atol=1e-3)
    with LiveFrames(source, None, (28, 28), 4, most_clips=3, drop=True) as dropping:
        while dropping.end is None:
            time.sleep(0.01)
        clips = list(until_end(dropping))
        assert dropping.dropped == FRAMES - 12
        assert [round(FPS * clip.times_s[0]) for clip in clips] == [48, 52, 56]  # the newest


def test_a_reader_that_dies_is_told(tmp_path: Path) -> None:
    path = tmp_path / "growing.ts"
    path.write_bytes(stream_bytes("mpegts"))
    with path.open("ab"), LiveFrames(LiveSource.of(str(path)), None, (28, 28), 4, idle_s=60) as frames:
        assert frames.take(1)
        frames._child.process.kill()
        list(until_end(frames))
        assert frames.end is not None and frames.end.broken and "SIGKILL" in frames.end.reason
    assert frames._child.process.poll() is not None


def until_end(frames: LiveFrames) -> Iterator:
    while clips := frames.take(1):
        yield from clips


@contextmanager
def in_background(work: Callable[[], object]) -> Iterator[None]:
    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join()


@contextmanager
def serving(data: bytes, announced: int) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(announced))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with in_background(lambda: server.serve_forever(0.02)):
        yield f"http://127.0.0.1:{server.server_port}/video.ts"
        server.shutdown()
    server.server_close()


@contextmanager
def rtsp_server(data: bytes) -> Iterator[str]:
    """Plays a transport stream to one listener, in RTP packets of seven of its packets through the RTSP connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"rtsp://127.0.0.1:{listener.getsockname()[1]}/camera"
    sdp = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track1\r\n"
    headers = {
        "OPTIONS": "Public: DESCRIBE, SETUP, PLAY, TEARDOWN\r\n",
        "DESCRIBE": f"Content-Base: {url}/\r\nContent-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n",
        "SETUP": "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n",
        "PLAY": "Session: 1\r\n",
    }

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as lines:
            asked = ""
            while asked != "PLAY":
                asked, *_ = lines.readline().decode().split()
                told = dict(line.split(": ", 1) for line in iter(lambda: lines.readline().decode().strip(), ""))
                body = sdp if asked == "DESCRIBE" else ""
                reply = f"RTSP/1.0 200 OK\r\nCSeq: {told['CSeq']}\r\n{headers[asked]}\r\n{body}"
                connection.sendall(reply.encode())
            for number, start in enumerate(range(0, len(data), 7 * 188)):
                packet = struct.pack(">BBHII", 0x80, 33, number, 90 * number, 1) + data[start : start + 7 * 188]
                connection.sendall(struct.pack(">cBH", b"$", 0, len(packet)) + packet)

    with listener, in_background(serve):
        yield url


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


_FROM_STDIN = """
import sys
from liteframe.data.decoding.live.frames import LiveFrames
from liteframe.data.decoding.live.source import LiveSource
seen = 0
with LiveFrames(LiveSource.of(sys.argv[1]), None, (28, 28), 4, idle_s=20) as frames:
    while clips := frames.take(1):
        seen += sum(len(clip.frames_THWC) for clip in clips)
print(seen)
"""


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_stdin_is_read(name: str) -> None:
    command = [sys.executable, "-c", _FROM_STDIN, name]
    done = subprocess.run(command, input=stream_bytes("matroska"), capture_output=True, timeout=100)
    assert int(done.stdout) == FRAMES, done.stderr.decode()


@pytest.mark.parametrize("container", ["avi", "asf"])
def test_a_container_of_other_times_is_refused(container: str, tmp_path: Path) -> None:
    path = tmp_path / "video"
    path.write_bytes(stream_bytes(container))
    with pytest.raises(DecodeError, match=f"is {container}, which tells when frames are decoded"):
        read(str(path))


@pytest.mark.parametrize(("container", "frames"), [("matroska", 2), ("mp4", 2)])
def test_a_small_file_is_read_back_from_its_end(container: str, frames: int, tmp_path: Path) -> None:
    path = tmp_path / f"video.{container}"
    path.write_bytes(stream_bytes(container, frames))
    seen, _ = read(str(path))
    assert len(seen) == frames
    same(seen, str(path))
