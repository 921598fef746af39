"""Serves the page from this machine alone: nothing is fetched from elsewhere, and uploads go when it ends."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from liteframe.system.listening import is_loopback

if TYPE_CHECKING:
    from liteframe.demo.answers import Watcher

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_WAITING = 16
_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "frame-ancestors 'none'",
    )
)
"""The browser asks nobody else, whatever the page holds."""
_HEADERS = ((b"content-security-policy", _POLICY.encode()), (b"referrer-policy", b"no-referrer"))


class _AskNobodyElse:
    """Adds the policy to every answer. Starlette's own class for this hides from Gradio that a browser has gone."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *_HEADERS]}
            await send(message)

        await self._app(scope, receive, send_with_policy)


@contextmanager
def upload_folder() -> Iterator[None]:
    """A folder for what is uploaded, deleted with all that is in it; to be entered before Gradio is imported."""
    with tempfile.TemporaryDirectory(prefix="liteframe-demo-", ignore_cleanup_errors=True) as folder:
        os.environ.update(GRADIO_TEMP_DIR=folder, GRADIO_ANALYTICS_ENABLED="False")
        yield


def serve(watcher: Watcher, listening: socket.socket, frames: int, most_frames: int, max_video_mb: int) -> None:
    """Serves the page until a signal ends it, within `upload_folder`.

    Args:
        watcher: answers.
        listening: has its address.
        frames: where the slider begins.
        most_frames: where it ends.
        max_video_mb: most megabytes of a video.
    """
    import uvicorn
    from fastapi import FastAPI
    from gradio import mount_gradio_app
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from liteframe.demo.page import STYLE, THEME, page

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # that open pages are cut off is no error
            await super().shutdown(sockets)

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    host, port = listening.getsockname()[:2]
    if is_loopback(listening):  # no other site can be this one under a name of its own
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*_LOOPBACK, host])

    app.add_middleware(_AskNobodyElse)
    blocks = page(watcher, frames, most_frames)
    blocks.queue(max_size=_WAITING, api_open=False)
    mount_gradio_app(
        app,
        blocks,
        "/",
        server_name=host,
        server_port=port,
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=max_video_mb * 1_000_000,
        allowed_paths=[],
        blocked_paths=[],
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=THEME,
        css_paths=STYLE,
    )
    # Browsers keep a connection open as long as the page is.
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1, server_header=False)
    Server(config).run(sockets=[listening])
