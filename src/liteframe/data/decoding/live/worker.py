"""The child process that reads one stream, which `LiveFrames` starts with its process id.

Imports numpy and PyAV, never torch. It is told once what to read, and sends what comes of it: `LiveFrame`s and a
`LiveEnd`, or an error of liteframe. It waits where the pipe is full, and ends when its parent is gone.
"""

from __future__ import annotations

import os
import signal
import sys

from liteframe.data.decoding.live.reading import LiveEnd, live_frames
from liteframe.data.decoding.memory import limit_own_memory
from liteframe.data.decoding.processes.messages import receive, send
from liteframe.data.decoding.processes.parent_watch import end_with_parent, leave_group
from liteframe.data.decoding.processes.worker import one_line
from liteframe.errors import LiteFrameError


def main() -> None:
    """Reads one stream to its end."""
    leave_group()
    end_with_parent(int(sys.argv[1]))
    limit_own_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides when children end
    if hasattr(signal, "SIGIO"):
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # who opens a file just as `GrowingFile` asks who writes it
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever decoders print must not mix with the answers
    send(answers, "ready")
    try:
        settings = receive(requests)
        try:
            for message in live_frames(settings):
                send(answers, message)
        except LiteFrameError as error:
            send(answers, error)
        except Exception as error:
            send(answers, LiveEnd(one_line(error), broken=True))
    except (BrokenPipeError, EOFError):
        return
