"""An HTTP server of a test's own, that misbehaves as it is told."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VIDEO_START = b"\0\0\0\x14ftypisom\0\0\0\0isom"
"""A box that a video may start with, by which a body does not look like a text."""


@dataclass
class Answer:
    """One answer to a GET.

    Attributes:
        body: what is sent.
        status: of the answer.
        headers: beside its length.
        length: `Content-Length`; -1 for that of `body`, None for none, so that the end of the connection is the end.
        before: called when it is asked for.
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = -1
    before: Callable[[], object] = lambda: None


class Server:
    """Gives each GET of a name the next of its `answers`, the last one for ever; else serves `files`.

    `gets` counts the GETs of each name, `sent` the bytes. The first part of a file's path makes it misbehave: shaky,
    slow, stuck, cut, sizeless.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, list[Answer]] = {}
        self.gets: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                name = self.path.rsplit("/", 1)[-1].partition("?")[0]
                if self.command == "GET":
                    outer.gets[name] += 1
                answer = outer._answer(self.path, name, self.command == "GET")
                self.send_response(answer.status)
                for header in answer.headers.items():
                    self.send_header(*header)
                if answer.length is None:
                    self.send_header("Connection", "close")
                elif "Content-Length" not in answer.headers:
                    self.send_header("Content-Length", str(len(answer.body) if answer.length < 0 else answer.length))
                self.end_headers()
                if self.command == "GET":
                    answer.before()
                    outer.sent[name] += self._send(answer.body)
                if answer.length is None or answer.length > len(answer.body):
                    self.close_connection = True

            def _send(self, body: bytes) -> int:
                sent = 0
                try:
                    for start in range(0, len(body), 1 << 16):
                        sent += self.wfile.write(body[start : start + (1 << 16)])
                except OSError:  # the other side has heard enough
                    self.close_connection = True
                return sent

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.root = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def _answer(self, path: str, name: str, is_get: bool) -> Answer:
        if name in self.answers:
            left = self.answers[name]
            return left.pop(0) if is_get and len(left) > 1 else left[0]
        body = self.files.get(name)
        if body is None:
            return Answer(status=404)
        if path.startswith("/shaky/") and is_get and self.gets[name] < 2:
            return Answer(status=503)
        answer = Answer(body)
        if path.startswith("/sizeless/"):
            answer.length = None
        if path.startswith("/slow/"):
            answer.before = lambda: time.sleep(0.3)
        if path.startswith("/stuck/"):
            answer.before = lambda: time.sleep(30)
        if path.startswith("/cut/"):
            answer.body, answer.length = body[: len(body) // 2], len(body)
        return answer


@contextmanager
def serving() -> Iterator[Server]:
    """A server that runs until the body ends."""
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()
