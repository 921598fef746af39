"""Messages between a `DecodePool` and its children: pickles, with arrays apart so that they are not copied."""

from __future__ import annotations

import pickle
import struct
from typing import IO, Any

_HEADER = struct.Struct("<QI")
GOES_ON = "goes on"
"""What a child says on the way to its answer."""


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
    size, count = _HEADER.unpack(_read(pipe, _HEADER.size))
    sizes = struct.unpack(f"<{count}Q", _read(pipe, 8 * count))
    body = _read(pipe, size)
    return pickle.loads(body, buffers=[_read(pipe, length) for length in sizes])


def _read(pipe: IO[bytes], size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view.nbytes:
        got = pipe.readinto(view)  # type: ignore[attr-defined]
        if not got:
            raise EOFError
        view = view[got:]
    return data
