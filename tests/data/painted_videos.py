"""Clips whose frames carry their own number, so that a test can read off which frame it was given."""

from __future__ import annotations

import os
from collections.abc import Container, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType

SIZE = 64
_BLOCK = 16
_BITS = 8


def picture(number: int) -> np.ndarray:
    """(64, 64, 3) uint8: the lowest 8 bits of `number` as black and white blocks over a moving background."""
    ramp = (np.add.outer(np.arange(SIZE), np.arange(SIZE)) * 2 + number * 5) % 256
    image = np.stack([ramp // 2 + 60] * 3, axis=2).astype(np.uint8)
    for bit in range(_BITS):
        row, column = divmod(bit, SIZE // _BLOCK)
        place = np.s_[row * _BLOCK : (row + 1) * _BLOCK, column * _BLOCK : (column + 1) * _BLOCK]
        image[place] = 255 if number >> bit & 1 else 0
    return image


def number_of(frame_HWC: np.ndarray) -> int:
    """The number painted into a frame."""
    number = 0
    for bit in range(_BITS):
        row, column = divmod(bit, SIZE // _BLOCK)
        centre = frame_HWC[row * _BLOCK + 4 : (row + 1) * _BLOCK - 4, column * _BLOCK + 4 : (column + 1) * _BLOCK - 4]
        number |= int(centre.mean() > 127) << bit
    return number


def write_video(
    path: Path,
    frames: int,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    times: list[int] | None = None,
    rotation: int = 0,
    pixel_format: str = "yuv420p",
    container_options: dict[str, str] | None = None,
    keys: Container[int] = (),
) -> Path:
    """A video at 25 frames a second; `times` in milliseconds give it a variable rate, `keys` are made key frames."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width = stream.height = SIZE
        stream.pix_fmt = pixel_format
        if times is not None:
            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        if rotation:
            if not hasattr(stream, "index_entries"):
                pytest.skip("PyAV writes no rotation before 17")
            stream.set_display_rotation(rotation)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            if number in keys:
                frame.pict_type = PictureType.I
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    restore_priority()
    return path


def write_sizes(path: Path, sizes: Sequence[tuple[int, int]] = ((64, 64), (128, 96)), frames: int = 4) -> Path:
    """VP9 whose size changes on the way: `frames` of each (width, height), numbered on and painted over all of it."""
    packets, number = [], 0
    for width, height in sizes:
        encoder = av.CodecContext.create("libvpx-vp9", "w")
        encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
        encoder.time_base, encoder.options = Fraction(1, 25), {"lag-in-frames": "0", "crf": "10"}
        for _ in range(frames):
            small = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame = small.reformat(width, height, "yuv420p")
            frame.pts, frame.time_base, number = number, Fraction(1, 25), number + 1
            packets += encoder.encode(frame)
        packets += encoder.encode(None)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=25)
        stream.width, stream.height, stream.pix_fmt = *sizes[0], "yuv420p"
        for packet in packets:
            packet.stream = stream
            container.mux(packet)
    return path


def restore_priority() -> None:
    """Takes back the real-time priority that the encoder SVT-AV1 gives to its process if it may, as root may."""
    if hasattr(os, "sched_setscheduler"):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
