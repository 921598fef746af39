"""What FFmpeg logs of a video is damage; of its neighbours, and below the level of errors, it is not."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av.logging
import pytest
from painted_videos import number_of, write_video

from liteframe.data.decoding.decode import read_frames
from liteframe.data.decoding.ffmpeg_log import FFmpegLog
from liteframe.data.decoding.pyav.scan import scan
from liteframe.errors import DecodeError


def stream(index: int, codec: str) -> Any:
    return SimpleNamespace(index=index, codec_context=SimpleNamespace(codec=SimpleNamespace(name=codec)))


def attending(demuxer: str = "matroska,webm", codec: str = "h264") -> FFmpegLog:
    """A log of stream 1 of a container that also has sound."""
    video, log = stream(1, codec), FFmpegLog()
    log.attend_to(SimpleNamespace(streams=[stream(0, "aac"), video], format=SimpleNamespace(name=demuxer)), video)
    return log


def heard(log: FFmpegLog, level: int, name: str, text: str, **heed: bool) -> str:
    with log.listening(**heed):
        av.logging.log(level, name, text)
    return log.damage


@pytest.mark.parametrize(
    "level, name, text, is_damage",
    [
        (av.logging.ERROR, "h264", "left block unavailable", True),
        (av.logging.FATAL, "h264", "no data found", True),
        (av.logging.ERROR, "matroska,webm", "Element exceeds containing master element", True),
        (av.logging.ERROR, "NULL", "a parser's complaint", True),
        (av.logging.ERROR, "h264", "SEI type 5 size 4096 truncated at 512", False),
        (av.logging.ERROR, "h264", "mmco: unref short failure", False),
        (av.logging.ERROR, "matroska,webm", "incomplete attachment", False),
        (av.logging.ERROR, "h264", "reference picture missing during reorder", True),
        (av.logging.ERROR, "aac", "channel element is not allocated", False),
        (av.logging.WARNING, "swscaler", "deprecated pixel format used", False),
        (av.logging.WARNING, "AVIOContext", "Truncating packet of size 9 to 3", True),
        (av.logging.WARNING, "h264", "Skipping invalid undecodable NALU: 1", True),
        (av.logging.WARNING, "mpegts", "Packet corrupt (stream = 1, dts = 9).", True),
        (av.logging.WARNING, "mpegts", "Packet corrupt (stream = 0, dts = 9).", False),
    ],
)
def test_what_is_damage(level: int, name: str, text: str, is_damage: bool) -> None:
    damage = heard(attending(), level, name, text)
    assert damage == (f"{name}: {text}" if is_damage else "")


def test_decoder_and_demuxer_are_told_apart_where_their_names_are() -> None:
    for heed, silent in (({"decoder": False}, "h264"), ({"demuxer": False}, "matroska,webm")):
        log = attending()
        assert heard(log, av.logging.ERROR, silent, "a remark", **heed) == ""
        assert heard(log, av.logging.ERROR, {"h264", "matroska,webm"}.difference({silent}).pop(), "x", **heed) != ""
    assert heard(attending("flv", "flv"), av.logging.ERROR, "flv", "Packet mismatch", decoder=False) != ""


def test_what_another_file_has_said_before_is_heard_again_and_the_users_level_stays() -> None:
    av.logging.set_level(None)
    assert [heard(attending(), av.logging.ERROR, "h264", "the same") for _ in range(3)] == ["h264: the same"] * 3
    assert av.logging.get_level() is None and av.logging.get_skip_repeated()


def test_threads_hear_their_own_files_only() -> None:
    logs = [attending(), attending()]

    def listen(turn: threading.Barrier, log: FFmpegLog, text: str) -> None:
        with log.listening():
            turn.wait(10)
            av.logging.log(av.logging.ERROR, "h264", text)
            turn.wait(10)

    turn = threading.Barrier(2)
    threads = [threading.Thread(target=listen, args=(turn, log, text)) for log, text in zip(logs, "ab", strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [log.damage for log in logs] == ["h264: a", "h264: b"]


def packets_of(path: Path) -> list[tuple[int, int]]:
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]


def test_a_frame_that_fails_its_checksum_is_an_error_and_those_before_are_right(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", 24, codec="ffv1", options={"g": "6", "slicecrc": "1"})
    if scan(str(path)).by_decoding:
        pytest.skip("this FFmpeg writes the codec as AVI names it, so that all frames are decoded")
    position, size = packets_of(path)[14]
    data = bytearray(path.read_bytes())
    data[position + size // 2] ^= 4
    path.write_bytes(data)
    assert [number_of(frame) for frame in read_frames(str(path), [3, 11])] == [3, 11]
    for indices in ([14], [16], [3, 14], range(24)):
        with pytest.raises(DecodeError, match="damaged.*slice CRC mismatch"):
            read_frames(str(path), indices)


def test_packets_of_flash_video_that_do_not_fit_are_an_error(tmp_path: Path) -> None:
    """Demuxer and decoder have one name there."""
    path = write_video(tmp_path / "a.flv", 24, codec="flv")
    data = bytearray(path.read_bytes())
    position, _ = packets_of(path)[12]
    size = int.from_bytes(data[position + 1 : position + 4], "big")
    data[position + 11 + size + 3] ^= 16  # behind each packet stands the size of it
    path.write_bytes(data)
    with pytest.raises(DecodeError, match="Packet mismatch"):
        read_frames(str(path), [1])
