"""What `liteframe check` remarks on in readable files whose colours, cropping or times may surprise."""

from __future__ import annotations

from typing import Any

import numpy as np

from liteframe.data.decoding.containers import matroska_tracks, mp4_entries
from liteframe.data.decoding.containers.mp4_entries import dolby_vision_profile
from liteframe.data.decoding.pyav.header import has_assumed_rate
from liteframe.data.decoding.pyav.opening import open_file, open_video
from liteframe.data.decoding.pyav.scan import Scan

_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
"""By their numbers in H.273."""
_OWN_COLOURS = 5
"""The profile of Dolby Vision whose colours only a Dolby Vision decoder shows right."""
_LATE_S = 0.1
_JUMP_S, _BROADCASTS = 10.0, {"mpegts", "mpeg"}
"""The step that FFmpeg takes for a reset of the clock, and the formats in which one may occur."""


def remarks_on(scan: Scan) -> list[str]:
    """Remarks on a readable file: HDR colours, alpha or cropping that is ignored, and uncertain rates or times."""
    with open_video(scan.path) as (container, stream, _):
        colours, late_s = _hdr_colours(scan, stream), _late_s(scan, container, stream)
        to_crop = _asks_to_crop(scan, stream)
        lacks_rate = has_assumed_rate(container, stream)
        has_alpha = stream.metadata.get("alpha_mode") == "1"
    remarks = [f"its colours are {colours} (HDR) and are not tone-mapped"] if colours else []
    remarks += ["its container asks for cropping, which is not applied"] if to_crop else []
    remarks += (
        ["its alpha channel (AlphaMode) is not read, so transparent pixels show the colours stored for them"]
        if has_alpha
        else []
    )
    if lacks_rate:
        remarks.append(f"it tells no frame rate, so {scan.fps:g} frames a second are assumed; put it into a container")
    if jump := _jump(scan):
        remarks.append(jump)
    if late_s > _LATE_S:
        begins = f"its first frame is shown {late_s:.1f} s after the sound begins"
        remarks.append(f"{begins}; times count from the first frame")
    return remarks


def _jump(scan: Scan) -> str:
    """Where and by how much the clock of a broadcast jumps ahead; empty where it does not."""
    steps = np.diff(scan.times()) if scan.container in _BROADCASTS else np.empty(0)
    if not (steps > _JUMP_S).any():
        return ""
    place = int(steps.argmax())
    return f"its clock jumps ahead by {steps[place]:.1f} s after frame {place}, as in joined files; times keep the gap"


def _hdr_colours(scan: Scan, stream: Any) -> str:
    if scan.container.startswith("mov,"):
        with open_file(scan.path) as file:
            if dolby_vision_profile(file, stream.id) == _OWN_COLOURS:
                return f"Dolby Vision profile {_OWN_COLOURS}"
    return _HDR_TRANSFERS.get(int(stream.codec_context.color_trc or 0), "")


def _asks_to_crop(scan: Scan, stream: Any) -> bool:
    with open_file(scan.path) as file:
        if scan.container.startswith("mov,"):
            return mp4_entries.asks_to_crop(file, stream.id)
        return scan.container.startswith("matroska") and matroska_tracks.asks_to_crop(file)


def _late_s(scan: Scan, container: Any, stream: Any) -> float:
    """Seconds from the first sound to the first picture, not counting pictures at the start that cannot be shown."""
    sounds = [
        float(sound.start_time * sound.time_base) for sound in container.streams.audio if sound.start_time is not None
    ]
    first = stream.start_time if scan.pts_T is None else int(scan.pts_T[0])
    if not sounds or first is None:
        return 0.0
    return first * scan.time_base - scan.lost_s - min(sounds)
