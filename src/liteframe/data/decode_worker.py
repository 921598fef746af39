"""The child process of a `DecodePool`: `python -m liteframe.data.decode_worker PARENT_PID`.

Imports numpy and decoders, never torch. It reads requests from stdin and answers on what was stdout; it ends at the end
of stdin and when its parent is gone.
"""

from __future__ import annotations

import os
import pickle
import signal
import struct
import sys
import threading
import time
from typing import IO, Any

from liteframe.data.decode_job import load_function
from liteframe.errors import ConfigError, LiteFrameError
from liteframe.runtime import die_with_parent

_HEADER = struct.Struct("<QI")


def send(pipe: IO[bytes], message: object) -> None:
    """Writes one pickled message, arrays out of band so that they are not copied."""
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


def answer(request: bytes) -> tuple[str, Any]:
    """("ok", result), ("error", an error of liteframe), or ("crash", text) for anything unforeseen while decoding."""
    try:
        function, arguments = pickle.loads(request)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        hint = "define samplers in a module that can be imported, not in __main__"
        return "error", ConfigError(f"a decode child cannot load its job: {why}; {hint}")
    try:
        return "ok", load_function(function)(*arguments)
    except LiteFrameError as error:
        return "error", error
    except Exception as error:
        return "crash", f"{type(error).__name__}: {error}"


def _end_with(parent: int) -> None:
    """Ends this process when `parent` is gone, also where it went before this began and on other systems than Linux."""
    die_with_parent()  # by a signal, so even where a decoder never gives back the interpreter lock

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    if os.getppid() != parent:
        os._exit(1)
    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Serves requests until stdin ends."""
    _end_with(int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides when children end
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever decoders print must not mix with the answers
    send(answers, "ready")
    while True:
        try:
            request = receive(requests)
        except EOFError:
            return
        kind, result = answer(request)
        try:
            send(answers, (kind, result))
        except BrokenPipeError:
            return


if __name__ == "__main__":
    main()
