"""Reads frames with torchcodec, which the extra `torchcodec` brings; it needs FFmpeg's shared libraries.

It takes the container's word for key frames, and says nothing of damage. So it reads only what tests have shown it to
be right on, whatever FFmpeg logs meanwhile is an error, and each frame must have the time that the scan tells.
"""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from liteframe.data.decoding import heartbeat
from liteframe.data.decoding.decord_reader import watched_log
from liteframe.data.decoding.frame_resize import FrameResize
from liteframe.data.decoding.frame_sink import FrameSink
from liteframe.data.decoding.picture_trust import picture_doubt
from liteframe.data.decoding.pyav.scan import Scan
from liteframe.errors import ConfigError, DecodeError
from liteframe.system.installation import install_hint

PROVEN = {"mov": ("h264", "hevc", "mpeg4", "vp9", "av1"), "matroska": ("h264", "hevc", "vp8", "vp9", "av1")}
"""Codecs whose frames torchcodec gets right, by the first word of FFmpeg's name of the container."""
_CHUNK_BYTES = 16 << 20
_SAME_TIME_S = 1e-5


def require_torchcodec() -> Any:
    """Its class of decoders.

    Raises:
        ConfigError: it is not installed, or finds no FFmpeg.
    """
    if importlib.util.find_spec("torchcodec") is None:
        raise ConfigError(f"decoder: torchcodec is not installed: {install_hint('torchcodec')}")
    os.environ.setdefault("TORCHCODEC_FFMPEG_LOG_LEVEL", "WARNING")  # read once; it is silent otherwise
    try:
        from torchcodec.decoders import VideoDecoder
    except (ImportError, OSError, RuntimeError) as error:
        raise ConfigError(
            "decoder: torchcodec does not load: it needs FFmpeg's shared libraries (such as `apt-get install ffmpeg`)"
            f" and the torch that it was made for ({type(error).__name__})"
        ) from error
    return VideoDecoder


def torchcodec_refusal(scan: Scan) -> str:
    """Why torchcodec must not read this file; empty where it may."""
    if doubt := picture_doubt(scan, "torchcodec"):
        return doubt
    if scan.by_decoding or scan.pts_T is None:
        return "the container's timestamps do not tell the frames, by which torchcodec is checked"
    if scan.codec not in PROVEN.get(scan.container.split(",")[0], ()):
        return f"torchcodec is not known to be right on {scan.codec} in {scan.container}"
    if scan.codec != "hevc" and scan.open_groups:
        return "torchcodec is not known to be right on open groups of pictures"
    return ""


def read_into(sink: FrameSink, scan: Scan, indices: Sequence[int], resize: FrameResize, threads: int) -> None:
    """Reads frames at strictly increasing `indices`.

    Args:
        sink: takes the frames.
        scan: of the file, which `torchcodec_refusal` does not refuse.
        indices: positions by presentation time.
        resize: from the size that frames must have to the one that they are scaled to, one at a time.
        threads: of FFmpeg.

    Raises:
        DecodeError: torchcodec fails, logs damage, or gives frames of other times or sizes.
        ConfigError: as `require_torchcodec`.
    """
    decoder_class = require_torchcodec()
    with watched_log() as log, open(scan.path, "rb", buffering=0) as file:
        try:
            _read(decoder_class, file, sink, scan, indices, resize, threads)
        except (RuntimeError, ValueError, IndexError, StopIteration) as error:
            raise DecodeError(scan.path, f"torchcodec cannot read it: {_reason(error)}") from error
    if log.text:
        raise DecodeError(scan.path, f"torchcodec reports damage: {log.text.splitlines()[0]}")


def _read(
    decoder_class: Any,
    file: Any,
    sink: FrameSink,
    scan: Scan,
    indices: Sequence[int],
    resize: FrameResize,
    threads: int,
) -> None:
    # an open file has no name, in which FFmpeg could see a protocol or a pattern
    decoder = decoder_class(file, dimension_order="NHWC", num_ffmpeg_threads=threads, device="cpu")
    if decoder.metadata.num_frames != scan.frames:
        raise DecodeError(
            scan.path, f"torchcodec counts {decoder.metadata.num_frames} frames, the file shows {scan.frames}"
        )
    assert scan.pts_T is not None
    times_T = scan.pts_T[np.asarray(indices, np.int64)] * scan.time_base
    sink.begin(len(indices), *resize.size, threads=threads)
    step = max(1, _CHUNK_BYTES // math.prod((*resize.source, 3)))
    for start in range(0, len(indices), step):
        part = slice(start, start + step)
        heartbeat.step()
        batch = decoder.get_frames_at(list(indices[part]))
        if not np.allclose(batch.pts_seconds.numpy(), times_T[part], rtol=0, atol=_SAME_TIME_S):
            raise DecodeError(scan.path, "torchcodec gives frames of other times than those asked for")
        frames_THWC = batch.data.numpy()
        if frames_THWC.shape[1:] != (*resize.source, 3):
            raise DecodeError(scan.path, f"torchcodec gives frames of shape {frames_THWC.shape[1:]}")
        for slot, frame_HWC in enumerate(frames_THWC, start):
            sink.put(slot, resize(frame_HWC))


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]
