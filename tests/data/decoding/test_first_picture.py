"""What headers tell of a first picture is what decoding it gives, and where they do not tell all it is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import pytest
from painted_videos import write_video
from remuxed_videos import with_message
from test_mp4_packets import ODD, TOLD

from liteframe.data.decoding.orientation import Orientation
from liteframe.data.decoding.pyav import first_picture as module
from liteframe.data.decoding.pyav.first_picture import FirstPicture, first_picture, starts_plainly
from liteframe.data.decoding.pyav.opening import open_video

ANNOUNCED = {"b_frames.mp4", "each_a_key.mp4", "rate.mp4", "ten_bit.mp4", "quicktime.mov", "hevc.mp4", "hevc.mov"}


def both(path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[FirstPicture | None, FirstPicture | None]:
    """The picture by headers alone, None where they do not tell, and by decoding."""
    with open_video(str(path)) as (container, stream, _):
        packet = next(container.demux(stream))
        decoded = first_picture(str(path), packet)
        with monkeypatch.context() as patch:
            patch.setattr(module, "_decoded", lambda *_: None)
            return first_picture(str(path), packet, Orientation()), decoded


@pytest.mark.parametrize("name", [*TOLD, *ODD])
def test_headers_tell_what_decoding_gives(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {**TOLD, **ODD}[name]
    if settings.get("codec", "libx264") not in av.codecs_available:
        pytest.skip("this FFmpeg has no encoder for it")
    announced, decoded = both(write_video(tmp_path / name, 8, **settings), monkeypatch)
    assert announced in (None, decoded) and decoded is not None
    assert announced is not None or name not in ANNOUNCED


def test_an_orientation_in_the_stream_is_found_by_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = write_video(tmp_path / "a.mp4", 4)
    turned = with_message(plain, tmp_path / "b.mp4", "display_orientation=insert:rotate=90")
    announced, decoded = both(turned, monkeypatch)
    assert announced is None and decoded is not None and decoded.orientation.rotation == 90


@pytest.mark.parametrize(
    "kinds, plainly", [((5, 255 + 3), True), ((5, 47), False), ((47,), False), ((255 + 47,), True)]
)
def test_messages_are_told_apart_by_their_kind(tmp_path: Path, kinds: tuple[int, ...], plainly: bool) -> None:
    with av.open(str(write_video(tmp_path / "a.mp4", 2))) as container:
        extradata, picture = container.streams.video[0].codec_context.extradata, next(container.demux(video=0))
        slices = bytes(picture)
    body = b"".join(bytes([255] * (kind // 255) + [kind % 255, 3]) + b"\x2f\x2f\x2f" for kind in kinds)
    unit = b"\x06" + body + b"\x80"
    assert starts_plainly("h264", extradata, len(unit).to_bytes(4, "big") + unit + slices) == plainly


@pytest.mark.parametrize("kind", [1, 7, 8, 2])
def test_a_packet_that_holds_more_is_decoded(tmp_path: Path, kind: int) -> None:
    with av.open(str(write_video(tmp_path / "a.mp4", 2))) as container:
        extradata, data = container.streams.video[0].codec_context.extradata, bytes(next(container.demux(video=0)))
    assert starts_plainly("h264", extradata, data)
    assert not starts_plainly("h264", extradata, data + (2).to_bytes(4, "big") + bytes([kind, 0]))
    assert not starts_plainly("h264", b"", data)
    assert not starts_plainly("mpeg4", extradata, data)
