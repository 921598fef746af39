"""Chat templates of model folders: programs that nobody vouches for, rendered in bounded time and memory.

The sandbox of jinja2 keeps a template from reaching Python, but two nested loops run for ever and `'a' * 10**10` eats
the memory. So they run in a process of their own, which is killed with an error that names the file. On Linux the
kernel holds it to its limits. Elsewhere this process looks every `WATCH_SECONDS` at what it has used, so that it may go
beyond them until the next look; and its memory is then what is resident, not all that it has asked for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from liteframe.errors import ConfigError

SECONDS = 1.0
"""Of the processor, for one rendering; those of published templates take milliseconds."""
MOST_BYTES = 1 << 30
MOST_CHARACTERS = 10_000_000
KERNEL_LIMITS = sys.platform == "linux"
"""Whether the child can be given limits: Windows has none of them, and macOS none of memory."""
WATCH_SECONDS = 0.01
_CHILD = Path(__file__).with_name("chat_template_child.py")
# Isolated from the current folder and the environment, so that jinja2's own folder has to be said.
_BOOTSTRAP = "import runpy, sys; sys.path += sys.argv[5:]; runpy.run_path(sys.argv[4], run_name='__main__')"
_ADVICE = "copy tokenizer and processor from the published base VLM again"
_PROBE = [
    {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "What happens?"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "Nothing."}]},
]


def template_of(processor: Any, where: str) -> str:
    """The template of a processor, the default one of several. Raises ConfigError where there is none."""
    template = processor.chat_template
    template = template.get("default") if isinstance(template, dict) else template
    if not isinstance(template, str) or not template:
        raise ConfigError(f"{where}: no chat_template (chat_template.jinja); {_ADVICE}")
    return template


def require_bounded(template: str, where: str) -> None:
    """Renders a conversation of one question and its answer. Raises ConfigError as `render` does."""
    render(template, _PROBE, {"add_generation_prompt": False}, where)


def render(template: str, messages: Any, variables: dict[str, Any], where: str) -> tuple[str, list[str]]:
    """The text of a conversation, and the names that the template asks for.

    Args:
        template: in jinja2.
        messages: of the conversation; of what is no plain value, the template sees the name of its type.
        variables: what else the template may ask for.
        where: file or folder, for messages.

    Raises:
        ConfigError: the template fails, or takes more time, memory or text than it may.
    """
    (text,), names = render_all(template, [(messages, variables)], where)
    return text, names


def render_all(
    template: str, conversations: Sequence[tuple[Any, dict[str, Any]]], where: str
) -> tuple[list[str], list[str]]:
    """As `render`, of several conversations, messages and variables each: asking the other process takes longest."""
    request = {"template": template, "conversations": conversations}
    reply = _renderer.ask(json.dumps(request, default=_stand_in), SECONDS * len(conversations))
    if reply is None:
        raise ConfigError(
            f"{where}: the chat template ran for more than {SECONDS:g} s, needs too much memory, or ended in a crash;"
            f" {_ADVICE}"
        )
    if "error" in reply:
        raise ConfigError(f"{where}: the chat template cannot be used: {reply['error']}; {_ADVICE}")
    return [str(text) for text in reply["texts"]], list(reply["variables"])


def _stand_in(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else f"<{type(value).__name__}>"


class _Renderer:
    """The process, started when it is first needed, and again after each template that ended it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self._starting: subprocess.Popen[str] | None = None
        self._pid = 0  # a virtual environment of Windows starts Python through a process that only waits

    def ask(self, request: str, seconds: float) -> dict[str, Any] | None:
        """The answer to a request that may take so long; None if twice in a row the process did not live to give it."""
        with self._lock:
            return self._ask_once(request, seconds) or self._ask_once(request, seconds)

    def start_ahead(self) -> None:
        """Starts the process beside what is done until it is needed."""
        with self._lock:
            if self._child is None and self._starting is None:
                self._starting = _start()

    def _ask_once(self, request: str, seconds: float) -> dict[str, Any] | None:
        if self._child is None:
            child, self._starting = self._starting or _start(), None
            assert child.stdout is not None
            ready = child.stdout.readline()  # its start counts for no template
            self._child, self._pid = child, int(ready or child.pid)
        child = self._child
        assert child.stdin is not None and child.stdout is not None
        try:
            with _watched(child, self._pid, seconds):
                child.stdin.write(request + "\n")
                child.stdin.flush()
                line = child.stdout.readline()
        except OSError:
            line = ""
        if not line.endswith("\n"):
            self._child = None
            child.kill()
            child.communicate()
            return None
        return dict(json.loads(line))

    def forget(self) -> None:
        """A forked process has no right to its parent's child."""
        self._lock, self._child, self._starting = threading.Lock(), None, None


@contextmanager
def _watched(child: subprocess.Popen[str], pid: int, seconds: float) -> Iterator[None]:
    """Kills a child without limits of its own that takes more time of the processor or memory than it may."""
    if KERNEL_LIMITS:
        yield
        return
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(child, pid, seconds, done), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _watch(child: subprocess.Popen[str], pid: int, seconds: float, done: threading.Event) -> None:
    with suppress(psutil.Error):  # what cannot be watched is not let run
        process = psutil.Process(pid)
        end = sum(process.cpu_times()[:2]) + seconds
        while sum(process.cpu_times()[:2]) <= end and process.memory_info().rss <= MOST_BYTES:
            if done.wait(WATCH_SECONDS):
                return
        process.kill()
    child.kill()


def _start() -> subprocess.Popen[str]:
    import jinja2
    import markupsafe

    folders = [str(Path(str(package.__file__)).parents[1]) for package in (jinja2, markupsafe)]
    limits = [str(SECONDS), str(MOST_BYTES)] if KERNEL_LIMITS else ["0", "0"]
    return subprocess.Popen(
        [sys.executable, "-I", "-c", _BOOTSTRAP, *limits, str(MOST_CHARACTERS), str(_CHILD), *folders],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        # A signal to the whole group is for the main process, which decides what to finish.
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )


_renderer = _Renderer()
start_ahead = _renderer.start_ahead
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renderer.forget)
