"""torchcodec gives the frames that PyAV gives, or refuses by name; where it is missing, the error says what to do."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from painted_videos import write_video

from liteframe.data.decoding import torchcodec_reader
from liteframe.data.decoding.decode import read_frames, read_frames_by
from liteframe.data.decoding.pyav.scan import scan
from liteframe.data.decoding.torchcodec_reader import PROVEN, torchcodec_refusal
from liteframe.errors import ConfigError, DecodeError

needs_torchcodec = pytest.mark.skipif(
    importlib.util.find_spec("torchcodec") is None, reason="torchcodec is not installed"
)
_X265 = "keyint=12:bframes=3:log-level=none:pools=1:open-gop="
_ENCODERS: dict[str, dict[str, Any]] = {
    "h264": {"options": {"x264-params": "keyint=12:bframes=3:b-adapt=0"}},
    "hevc": {"codec": "libx265", "options": {"x265-params": _X265 + "1"}},
    "mpeg4": {"codec": "mpeg4", "options": {"g": "12", "qscale": "2"}},
    "vp8": {"codec": "libvpx", "options": {"g": "12", "auto-alt-ref": "1", "lag-in-frames": "16", "b": "2M"}},
    "vp9": {"codec": "libvpx-vp9", "options": {"g": "12", "cpu-used": "8", "deadline": "realtime", "b": "2M"}},
    "av1": {"codec": "libsvtav1", "options": {"preset": "12", "g": "12", "svtav1-params": "lp=1"}},
}
_PAIRS = [(container, codec) for container, codecs in PROVEN.items() for codec in codecs]
_REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "transport.ts": (_ENCODERS["h264"], "not known to be right on h264 in mpegts"),
    "by_decoding.avi": (_ENCODERS["mpeg4"], "timestamps"),
    "open.mp4": ({"options": {"x264-params": "open-gop=1:keyint=10:bframes=3:b-adapt=0:scenecut=0"}}, "open groups"),
    "ten_bit.mp4": ({"pixel_format": "yuv420p10le"}, "other colours of yuv420p10le"),
}


@pytest.mark.parametrize("name", _REFUSED)
def test_what_is_not_proven_is_refused(tmp_path: Path, name: str) -> None:
    settings, reason = _REFUSED[name]
    assert reason in torchcodec_refusal(scan(str(write_video(tmp_path / name, 30, **settings))))


@needs_torchcodec
@pytest.mark.parametrize(("container", "codec"), _PAIRS)
def test_frames_are_those_of_pyav(tmp_path: Path, container: str, codec: str) -> None:
    path = str(write_video(tmp_path / f"clip.{'mp4' if container == 'mov' else 'mkv'}", 40, **_ENCODERS[codec]))
    for indices in [*([index] for index in range(0, 40, 3)), [2, 3, 4, 17, 39], list(range(40))]:
        frames, info = read_frames_by(path, indices, "torchcodec")
        assert info.decoder == "torchcodec"
        assert np.array_equal(frames, read_frames(path, indices, "pyav"))
        assert np.array_equal(
            read_frames(path, indices, "torchcodec", size=(32, 24)), read_frames(path, indices, "pyav", size=(32, 24))
        )


@needs_torchcodec
def test_damage_and_false_key_frames_are_errors(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", 30, options={"g": "30", "bf": "0"})
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][12]
    data = bytearray(path.read_bytes())
    data[packet.pos + 8 : packet.pos + 40] = b"\xff" * 32
    path.write_bytes(data)
    with pytest.raises(DecodeError, match="damage"):
        read_frames(str(path), [20], "torchcodec")
    keyless = write_video(tmp_path / "keyless.mp4", 30, codec="mpeg4", options={"g": "30", "qscale": "2"})
    keyless.write_bytes(keyless.read_bytes().replace(b"stss", b"free"))
    with pytest.raises(DecodeError, match="torchcodec reports damage"):
        read_frames(str(keyless), [20], "torchcodec")


def test_without_it_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchcodec_reader.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"not installed: pip install 'liteframe-video\[torchcodec\]'"):
        read_frames(str(write_video(tmp_path / "clip.mp4", 4)), [0], "torchcodec")


def test_other_decoders_do_not_import_it(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", 4)
    code = (
        "import sys; from liteframe.data.decoding.decode import read_frames; "
        f"read_frames({str(path)!r}, [0]); sys.exit(bool({{'torch', 'torchcodec'}} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
