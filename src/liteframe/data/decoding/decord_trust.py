"""For which files decord's frames are known to be right: a list of what tests have proven, and nothing else."""

from __future__ import annotations

import os
import re

from liteframe.data.decoding.picture_trust import picture_doubt
from liteframe.data.decoding.pyav.scan import Scan

_WRONG = {"hevc": "decord returns wrong frames of HEVC", "vp8": "decord returns wrong frames of VP8"}
_CANNOT = {"av1": "decord cannot open AV1"}
PROVEN = {"mov": ("h264", "mpeg4", "vp9"), "matroska": ("h264", "vp9")}
"""Codecs whose frames decord gets right, by the first word of FFmpeg's name of the container."""


def decord_doubt(scan: Scan) -> str:
    """Why decord must not be asked for single frames of this file; empty where it may."""
    if refusal := decord_refusal(scan):
        return refusal
    if scan.codec in _WRONG:
        return _WRONG[scan.codec]
    if scan.by_decoding:
        return "the container's timestamps do not tell the frames"
    if scan.codec not in PROVEN.get(scan.container.split(",")[0], ()):
        return f"decord is not known to be right on {scan.codec} in {scan.container}"
    return _structure_doubt(scan)


def _structure_doubt(scan: Scan) -> str:
    if scan.layout_doubt:
        return f"decord is known to be right on plain files only, and of this one {scan.layout_doubt}"
    if scan.hidden:
        return f"decord counts packets that are not shown: {scan.frames + scan.hidden} frames instead of {scan.frames}"
    if scan.open_groups:
        return "decord miscounts frames of open groups of pictures"
    if scan.early_keys and scan.container.startswith("mov,"):
        return "decord misses key frames that are decoded before the one before them is shown"
    return ""


def decord_refusal(scan: Scan) -> str:
    """Why decord must not open this file at all, since it cannot, or its old FFmpeg might follow the file to others."""
    if re.search(r"[%*?{]", os.path.abspath(scan.path)):
        return "decord may take the file's name for a pattern"
    return _CANNOT.get(scan.codec, "") or picture_doubt(scan, "decord")
