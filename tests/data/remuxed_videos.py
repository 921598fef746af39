"""Copies of clips whose packets are changed on the way, or left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest


def remux(path: Path, copy: Path, change: Callable[[list[Any]], list[Any]]) -> Path:
    """A copy of the video that holds what `change` makes of its packets, in order of decoding.

    Skips the test where the container is not for this codec, or PyAV is too old.
    """
    if int(av.__version__.split(".")[0]) < 17:
        pytest.skip("this PyAV does not copy what decoders have to know")
    with av.open(str(path)) as source:
        told = source.streams.video[0]
        packets = change([packet for packet in source.demux(told) if packet.size])
        with av.open(str(copy), "w") as target:
            try:
                stream = target.add_stream_from_template(told)
            except (ValueError, av.error.FFmpegError):
                pytest.skip(f"{path.name} cannot be copied to {copy.name}")
            for packet in packets:
                packet.stream = stream
                target.mux(packet)
    return copy
