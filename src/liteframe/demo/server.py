"""Serves the page from this machine alone: nothing is fetched from elsewhere, and uploads go when it ends."""

from __future__ import annotations

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
    from fastapi import FastAPI, Request
    from gradio import mount_gradio_app
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from liteframe.demo.page import STYLE, THEME, page

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    host, port = listening.getsockname()[:2]
    if is_loopback(listening):  # no other site can be this one under a name of its own
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*_LOOPBACK, host])

    @app.middleware("http")
    async def ask_nobody_else(request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

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
    uvicorn.Server(config).run(sockets=[listening])
