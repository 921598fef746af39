"""Every container, codec and structure on decord's list is one whose painted frames it gives at the right indices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from painted_videos import number_of, write_video

from liteframe.data.decoding import decord_reader
from liteframe.data.decoding.decord_trust import PROVEN, decord_doubt
from liteframe.data.decoding.frame_resize import FrameResize
from liteframe.data.decoding.pyav.scan import scan

_VFR = np.cumsum(np.random.default_rng(0).integers(1, 200, 60)).tolist()
_X264: dict[str, dict[str, Any]] = {
    "each_a_key": {"options": {"g": "1"}},
    "short_groups": {"options": {"g": "3", "bf": "2", "b_strategy": "0"}},
    "pyramid": {"options": {"x264-params": "keyint=24:bframes=6:b-pyramid=normal:b-adapt=0:ref=6"}},
    "scene_cuts": {"options": {"x264-params": "keyint=30:min-keyint=1:scenecut=100:bframes=3"}},
    "one_group": {"options": {"g": "1000"}},
    "rate": {"options": {"g": "12", "bf": "3", "b_strategy": "0"}, "times": _VFR},
    "late": {"options": {"g": "12", "bf": "2"}, "times": [time + 700 for time in _VFR]},
    "interlaced": {"options": {"x264-params": "keyint=12:tff=1"}},
}
_VP9: dict[str, dict[str, Any]] = {
    f"vp9_{lag}_{group}": {
        "codec": "libvpx-vp9",
        "options": {"cpu-used": "8", "deadline": "realtime", "lag-in-frames": lag, "g": group, "b": "2M"},
    }
    for lag, group in (("0", "12"), ("16", "5"))
}
_RIGHT: dict[str, dict[str, Any]] = {
    **{f"{name}.mp4": settings for name, settings in (_X264 | _VP9).items()},
    **{f"{name}.mkv": settings for name, settings in (_X264 | _VP9).items()},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"g": "12", "qscale": "2"}},
}
_PAIRS = {("mov", "h264"), ("mov", "vp9"), ("matroska", "h264"), ("matroska", "vp9"), ("mov", "mpeg4")}
_FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}
_DOUBTED: dict[str, tuple[dict[str, Any], str]] = {
    "fragments.mp4": ({"options": {"g": "5"}, "container_options": _FRAGMENTS}, "fragmented"),
    "shifting.ts": ({"codec": "mpeg2video", "options": {"g": "12", "qscale": "2"}}, "not known to be right on mpeg2"),
    "h264.ts": ({"options": {"g": "12"}}, "not known to be right on h264 in mpegts"),
    "h264.flv": ({"options": {"g": "12"}}, "not known to be right on h264 in flv"),
    "mpeg4.mkv": ({"codec": "mpeg4"}, "not known to be right on mpeg4 in matroska"),
    "open.mp4": ({"options": {"x264-params": "open-gop=1:keyint=10:bframes=3:b-adapt=0:scenecut=0"}}, "open groups"),
}


def test_the_list_holds_what_is_tried_here_and_no_more() -> None:
    assert {(container, codec) for container, codecs in PROVEN.items() for codec in codecs} == _PAIRS


@pytest.mark.skipif(not decord_reader.available(), reason="decord is not installed")
@pytest.mark.parametrize("name", _RIGHT)
def test_decord_is_right_where_it_is_not_doubted(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, 60, **_RIGHT[name])
    seen = scan(str(path))
    assert decord_doubt(seen) == ""
    random = np.random.default_rng(0)
    batches = [np.sort(random.choice(60, 6, replace=False)).tolist() for _ in range(4)]
    for indices in [*([index] for index in range(0, 60, 4)), *batches, list(range(60))]:
        frames = decord_reader.read(str(path), indices, 60, FrameResize((64, 64), (64, 64)), in_order=False)
        assert [number_of(frame) for frame in frames] == indices


@pytest.mark.parametrize("name", _DOUBTED)
def test_what_is_not_proven_is_doubted(tmp_path: Path, name: str) -> None:
    settings, doubt = _DOUBTED[name]
    told = decord_doubt(scan(str(write_video(tmp_path / name, 60, **settings))))
    if name.endswith(".flv") and not hasattr(av.Packet, "has_sidedata"):  # older ones do not tell of new parameters
        doubt = "timestamps do not tell the frames"
    assert doubt in told


def test_key_frames_before_the_one_before_them_is_shown_are_doubted(tmp_path: Path) -> None:
    """decord seeks to the last key frame that is decoded by the time at which the wanted one is shown."""
    keys = (0, 7, 8, 9, 20, 21, 40, 42, 44)
    options = {"g": "60", "bf": "3", "b_strategy": "0", "forced-idr": "1"}
    path = write_video(tmp_path / "a.mp4", 60, options=options, container_options={"use_editlist": "0"}, keys=keys)
    seen = scan(str(path))
    assert len(seen.key_pts_K) == 9 and "misses key frames" in decord_doubt(seen)


@pytest.mark.parametrize(
    ("frame", "harmless"),
    [
        ("w: 64 h: 48 fmt: 0 csp: bt709 range: tv", True),
        ("w: 64 h: 48 fmt: 0 csp: unknown range: tv", True),
        ("w: 64 h: 48 fmt: 0 csp: bt709 range: pc", False),
        ("w: 64 h: 32 fmt: 0 csp: bt709 range: tv", False),
        ("w: 64 h: 48 fmt: 12 csp: bt709 range: tv", False),
    ],
)
def test_decord2_may_learn_colours_from_the_first_frame_and_nothing_else(frame: str, harmless: bool) -> None:
    """The lines are those of decord2 3.4.0, whose frames of such files are PyAV's to the bit."""
    log = (
        "[in @ 0x55963c0f5c40] Changing video frame properties on the fly is not supported by all filters.\n"
        "[in @ 0x55963c0f5c40] filter context - w: 64 h: 48 fmt: 0 csp: unknown range: unknown alpha: unspecified,"
        f" incoming frame - {frame} alpha: unspecified pts_time: 0"
    )
    bad = "[h264 @ 0x1] error while decoding MB 1 1"
    assert decord_reader.damage_in(log) == ("" if harmless else log)
    assert decord_reader.damage_in(f"{log}\n{bad}") == (bad if harmless else f"{log}\n{bad}")
