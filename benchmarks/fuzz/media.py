"""Small clips of painted frames, in many codecs and containers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

SIZE = 64


def paint(number: int) -> np.ndarray:
    """(64, 64, 3) uint8: bits of `number` as blocks over a moving ramp, so that no two frames look alike."""
    ramp = (np.add.outer(np.arange(SIZE), np.arange(SIZE)) * 2 + number * 7) % 200 + 28
    image = np.stack([ramp, ramp, ramp], axis=2).astype(np.uint8)
    for bit in range(6):
        row, column = divmod(bit, 3)
        image[8 + row * 28 : 28 + row * 28, 2 + column * 20 : 20 + column * 20] = 235 if number >> bit & 1 else 20
    return image


def write_clip(
    path: Path,
    frames: Sequence[np.ndarray],
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    times_ms: Sequence[int] | None = None,
    rotation: int = 0,
) -> None:
    """Encodes RGB frames at 10 a second, or at the given times."""
    import av

    with av.open(str(path), "w", options=container_options or {}) as container:
        stream: Any = container.add_stream(codec, rate=10, options=options or {})
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = SIZE, SIZE, pixel_format, 1
        if times_ms is not None:
            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if hasattr(os, "sched_setscheduler"):  # SVT-AV1 makes its process one of real time, where it may
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
