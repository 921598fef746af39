"""What `liteframe check` says of files that are read, and whose colours or times may be others than one expects."""

from __future__ import annotations

from typing import Any

import numpy as np

from liteframe.data.decoding.containers import matroska_tracks, mp4_entries
from liteframe.data.decoding.containers.mp4_entries import dolby_vision_profile
from liteframe.data.decoding.pyav.header import has_assumed_rate
from liteframe.data.decoding.pyav.opening import open_file, open_video
from liteframe.data.decoding.pyav.scan import Scan

_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
"""By the numbers of H.273."""
_OWN_COLOURS = 5
"""The profile of Dolby Vision whose pictures have colours that nothing else shows."""
_LATE_S = 0.1
_JUMP_S, _BROADCASTS = 10.0, {"mpegts", "mpeg"}
"""FFmpeg's measure of a clock that was set, and the formats in which it may be."""


def remarks_on(scan: Scan) -> list[str]:
    """Of a file that is read: colours that are HDR or below transparency, a crop, times that may be others."""
    with open_video(scan.path) as (container, stream, _):
        colours, late_s = _hdr_colours(scan, stream), _late_s(scan, container, stream)
        to_crop = _asks_to_crop(scan, stream)
        lacks_rate = has_assumed_rate(container, stream)
        has_alpha = stream.metadata.get("alpha_mode") == "1"
    remarks = [f"its colours are {colours} (HDR) and are not tone-mapped"] if colours else []
    remarks += ["it asks for its pictures to be cropped, and they are not"] if to_crop else []
    remarks += (
        ["its alpha channel (AlphaMode) is not read: transparent pixels have the colours below"] if has_alpha else []
    )
    if lacks_rate:
        remarks.append(f"it tells no rate, and is taken at {scan.fps:g} frames a second: put it into a container")
    if jump := _jump(scan):
        remarks.append(jump)
    if late_s > _LATE_S:
        begins = f"its first frame is shown {late_s:.1f} s after the sound begins"
        remarks.append(f"{begins}; times count from the first frame")
    return remarks


def _jump(scan: Scan) -> str:
    """Of a broadcast whose clock goes ahead by more than a frame may stay: where, and by how much."""
    steps = np.diff(scan.times()) if scan.container in _BROADCASTS else np.empty(0)
    if not (steps > _JUMP_S).any():
        return ""
    place = int(steps.argmax())
    return f"its clock goes ahead by {steps[place]:.1f} s behind frame {place}, as in joined files; times follow it"


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
    """Seconds from the first sound to the first picture of a file, of which those that cannot be shown do not count."""
    sounds = [
        float(sound.start_time * sound.time_base) for sound in container.streams.audio if sound.start_time is not None
    ]
    first = stream.start_time if scan.pts_T is None else int(scan.pts_T[0])
    if not sounds or first is None:
        return 0.0
    return first * scan.time_base - scan.lost_s - min(sounds)
