"""The child process of a `DecodePool`, which `child` starts with its parent's process id.

Imports numpy and decoders, never torch. It reads requests from stdin and answers on what was stdout; it ends at the end
of stdin and when its parent is gone.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from collections.abc import Sequence
from typing import IO, Any

from liteframe.data.decoding import heartbeat
from liteframe.data.decoding.memory import limit_own_memory
from liteframe.data.decoding.processes import frame_chunks
from liteframe.data.decoding.processes.job import load_function
from liteframe.data.decoding.processes.messages import GOES_ON, PART, receive, send
from liteframe.data.decoding.processes.parent_watch import end_with_parent, leave_group
from liteframe.errors import ConfigError, LiteFrameError

_LONGEST = 400


def request(function: str, arguments: tuple[Any, ...], folders: Sequence[str] = ()) -> bytes:
    """A request to call a function, whose modules or arguments may lie in `folders` that are not on the path."""
    return pickle.dumps((function, list(folders), pickle.dumps(arguments, protocol=5)))


def answer(request: bytes) -> tuple[str, Any]:
    """("ok", result), ("error", an error of liteframe), or ("crash", text) for anything unforeseen while decoding."""
    try:
        function, folders, packed = pickle.loads(request)
        sys.path += [folder for folder in folders if folder not in sys.path]
        arguments = pickle.loads(packed)
    except (ImportError, AttributeError) as error:
        hint = "define samplers in a module that can be imported, not in __main__"
        return "error", ConfigError(f"a decode child cannot load its job: {one_line(error)}; {hint}")
    except Exception as error:
        return "crash", f"a decode child cannot load its job: {one_line(error)}"
    try:
        return "ok", load_function(function)(*arguments)
    except LiteFrameError as error:
        return "error", error
    except BaseException as error:  # a decoder of the user's may even ask to exit
        return "crash", one_line(error)


def one_line(error: BaseException) -> str:
    """Name and text of an error, in one line of bounded length."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # the text is made by code of the error's own
        text = "(an error that cannot be shown)"
    return f"{type(error).__name__}: {text}"[:_LONGEST]


def _send_answer(pipe: IO[bytes], message: tuple[str, Any]) -> None:
    try:
        send(pipe, message)
    except OSError:
        raise
    except Exception as error:
        what = "error" if message[0] == "error" else "answer"
        send(pipe, ("crash", f"its {what} cannot be sent: {one_line(error)}"))


def main() -> None:
    """Serves requests until stdin ends."""
    leave_group()
    end_with_parent(int(sys.argv[1]))
    limit_own_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides when children end
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever decoders print must not mix with the answers
    turns = threading.Lock()  # threads that decode say that they go on while another sends frames

    def goes_on() -> None:
        if turns.acquire(blocking=False):  # frames say so, too
            try:
                send(answers, GOES_ON)
            finally:
                turns.release()

    def send_part(part: Any) -> None:
        with turns:
            send(answers, (PART, part))

    heartbeat.report_to(goes_on)
    frame_chunks.send_parts_by(send_part)
    send(answers, "ready")
    while True:
        try:
            message = receive(requests)
        except EOFError:
            return
        try:
            _send_answer(answers, answer(message))
        except BrokenPipeError:
            return
