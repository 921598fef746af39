"""Messages between a `DecodePool` and its children: pickles, with arrays apart so that they are not copied."""

from __future__ import annotations

import pickle
import struct
import time
from typing import IO, Any

import numpy as np

_HEADER = struct.Struct("<QI")
GOES_ON = "goes on"
"""What a child says on the way to its answer."""
PART = "part"
"""Kind of a message that is a part of an answer to come."""


def send(pipe: IO[bytes], message: object) -> None:
    """Writes one message.

    Raises:
        BrokenPipeError, OSError: the other side is gone.
        Exception: anything that pickling raises, before the first byte is written.
    """
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    sizes = struct.pack(f"<{len(views)}Q", *(view.nbytes for view in views))
    for part in (_HEADER.pack(len(body), len(views)), sizes, body, *views):
        _write(pipe, memoryview(part))  # type: ignore[arg-type]


def _write(pipe: IO[bytes], view: memoryview) -> None:
    while view.nbytes:
        view = view[pipe.write(view) :]


def receive(pipe: IO[bytes]) -> Any:
    """Reads one message of `send`; EOFError where the other side is gone."""
    return receive_timed(pipe)[0]


def receive_timed(pipe: IO[bytes]) -> tuple[Any, float]:
    """As `receive`, and the seconds from where the message began to come."""
    header = _read(pipe, _HEADER.size)
    began = time.perf_counter()
    size, count = _HEADER.unpack(header)
    sizes = struct.unpack(f"<{count}Q", _read(pipe, 8 * count))
    body = _read(pipe, size)
    message = pickle.loads(body, buffers=[_read(pipe, length) for length in sizes])
    return message, time.perf_counter() - began


def _read(pipe: IO[bytes], size: int) -> memoryview:
    data = view = memoryview(np.empty(size, np.uint8))  # type: ignore[arg-type] # not filled with zeros first
    while view.nbytes:
        got = pipe.readinto(view)  # type: ignore[attr-defined]
        if not got:
            raise EOFError
        view = view[got:]
    return data
