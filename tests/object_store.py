"""Servers of objects, by HTTP alone or by S3 (moto), that misbehave as they are told."""

from __future__ import annotations

import functools
import http.client
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import unquote

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

Answer = tuple[int, dict[str, str], bytes]
Fault = Callable[[BaseHTTPRequestHandler, Answer], Answer | None]
"""What becomes of an answer; None where it has been sent, or never will be."""


def status(code: int, text: bytes = b"", **headers: str) -> Fault:
    """An error in place of the answer."""
    return lambda _handler, _answer: (code, {name.replace("_", "-"): value for name, value in headers.items()}, text)


def slow_down(_handler: BaseHTTPRequestHandler, _answer: Answer) -> Answer:
    """S3's throttling."""
    body = (
        b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
    )
    return 503, {"Content-Type": "application/xml"}, body


def reset(handler: BaseHTTPRequestHandler, _answer: Answer) -> None:
    """The connection breaks before an answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    handler.connection.close()


def cut(handler: BaseHTTPRequestHandler, answer: Answer) -> None:
    """Half of the body, and the end of the connection."""
    code, headers, body = answer
    _send(handler, code, headers | {"Content-Length": str(len(body))}, body[: len(body) // 2])
    handler.close_connection = True


def short(_handler: BaseHTTPRequestHandler, answer: Answer) -> Answer:
    """A body that is too short, with a length that says the same."""
    code, headers, body = answer
    return code, headers, body[:-1]


def flipped(_handler: BaseHTTPRequestHandler, answer: Answer) -> Answer:
    """A body in which a bit of each byte is another."""
    code, headers, body = answer
    return code, headers, bytes(byte ^ 1 for byte in body)


def late(seconds: float) -> Fault:
    """An answer that lets itself be waited for."""

    def wait(_handler: BaseHTTPRequestHandler, answer: Answer) -> Answer:
        time.sleep(seconds)
        return answer

    return wait


def _send(handler: BaseHTTPRequestHandler, code: int, headers: Mapping[str, str], body: bytes) -> None:
    try:
        handler.send_response(code)
        for header in headers.items():
            handler.send_header(*header)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)
    except OSError:  # the other side has gone
        handler.close_connection = True


class ObjectStore:
    """Objects by their keys, with the faults that the next GETs of a key meet, in order.

    Attributes:
        root: URL that keys are relative to.
        files: objects by key, where no other server has them.
        faults: by key; each is used once.
        gets: GETs by key.
        ranges: the `Range` of each GET of a key.
    """

    def __init__(self, upstream: int | None = None, bucket: str = "") -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.gets: Counter[str] = Counter()
        self.ranges: dict[str, list[str]] = {}
        self._upstream, self._bucket = upstream, bucket
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                outer._handle(self)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.root = f"s3://{bucket}" if bucket else self.endpoint
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        key = unquote(handler.path.partition("?")[0]).removeprefix(f"/{self._bucket}").lstrip("/")
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        answer: Answer | None = self._forward(handler, body) if self._upstream else self._serve(handler, key)
        if handler.command in ("GET", "PUT"):
            if handler.command == "GET":
                self.gets[key] += 1
                self.ranges.setdefault(key, []).append(handler.headers.get("Range", ""))
            faults = self.faults.get(key if handler.command == "GET" else f"PUT {key}")
            if faults and answer is not None:
                answer = faults.pop(0)(handler, answer)
        if answer is None:
            handler.close_connection = True
            return
        code, headers, data = answer
        length = {} if "Content-Length" in headers else {"Content-Length": str(len(data))}
        _send(handler, code, headers | length, data)

    def _serve(self, handler: BaseHTTPRequestHandler, key: str) -> Answer:
        if key not in self.files:
            return 404, {}, b"no such object"
        body = self.files[key]
        headers = {"ETag": f'"{hash(body):x}"', "Accept-Ranges": "bytes"}
        if handler.command == "HEAD":
            return 200, headers | {"Content-Length": str(len(body))}, b""
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers.get("Range", ""))
        if not asked:
            return 200, headers, body
        start, end = int(asked[1]), min(int(asked[2]) + 1, len(body))
        return 206, headers | {"Content-Range": f"bytes {start}-{end - 1}/{len(body)}"}, body[start:end]

    def _forward(self, handler: BaseHTTPRequestHandler, body: bytes) -> Answer:
        assert self._upstream is not None
        connection = http.client.HTTPConnection("127.0.0.1", self._upstream, timeout=60)
        headers = {name: value for name, value in handler.headers.items() if name.lower() != "expect"}
        connection.request(handler.command, handler.path, body, headers)
        response = connection.getresponse()
        data = response.read()
        drop = {"transfer-encoding", "connection", "date", "server"}
        drop |= set() if handler.command == "HEAD" else {"content-length"}
        kept = {name: value for name, value in response.getheaders() if name.lower() not in drop}
        return response.status, kept, data


@contextmanager
def http_store() -> Iterator[ObjectStore]:
    """Objects behind http URLs."""
    store = ObjectStore()
    try:
        yield store
    finally:
        store.http.shutdown()
        store.http.server_close()


@contextmanager
def s3_store(monkeypatch: pytest.MonkeyPatch, bucket: str = "bucket") -> Iterator[ObjectStore]:
    """An empty bucket of moto's behind the usual environment; skips the test where a package is missing."""
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    server = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    store = ObjectStore(_moto_port(server), bucket)
    for name, value in (
        *(
            ("AWS_ACCESS_KEY_ID", "AKIDTEST"),
            ("AWS_SECRET_ACCESS_KEY", "very-secret"),
            *(("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_MAX_ATTEMPTS", "1")),
        ),
        *(("AWS_ENDPOINT_URL", store.endpoint), ("AWS_DEFAULT_REGION", "us-east-1"), ("NO_PROXY", "*")),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)  # it asks several times itself, with pauses
    s3fs.S3FileSystem.clear_instance_cache()  # those that exist know another endpoint
    try:
        _request(store.endpoint, "PUT", f"/{bucket}")
        yield store
    finally:
        _request(store.endpoint, "POST", "/moto-api/reset")
        store.http.shutdown()
        store.http.server_close()


@functools.cache
def _moto_port(server: Any) -> int:
    """Of a server that runs as long as this process: to start one takes a second."""
    moto = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    return int(moto.get_host_and_port()[1])


def _request(endpoint: str, method: str, path: str) -> None:
    connection = http.client.HTTPConnection(endpoint.removeprefix("http://"), timeout=30)
    connection.request(method, path)
    assert connection.getresponse().status < 300


class _Bucket(MemoryFileSystem):
    """Objects of this process alone, under a protocol of buckets."""

    protocol = "lakefs"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("lakefs://").strip("/")


@contextmanager
def memory_bucket() -> Iterator[str]:
    """The address of an empty bucket, for what needs no faults."""
    fsspec.register_implementation("lakefs", _Bucket, clobber=True)
    _Bucket.store.clear()
    yield "lakefs://bucket"
    _Bucket.store.clear()
