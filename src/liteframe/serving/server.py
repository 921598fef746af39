"""The server's process: it listens until a signal, and then ends within seconds."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn

from liteframe.serving.service import AnswerService

_GRACE_S = 4
"""Seconds that answers under way are given at SIGTERM."""
_CUT_OFF_S = 2
"""Seconds after which connections are closed that even then have not ended."""


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, service: AnswerService) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().call_later(_GRACE_S, self._service.stop)
        await super().shutdown(sockets)


def run_server(app: Any, service: AnswerService, listening: socket.socket) -> None:
    """Answers at a socket until SIGTERM or Ctrl-C, which is raised again at the end.

    Args:
        app: of `build_app`.
        service: behind it.
        listening: has its address.
    """
    config = uvicorn.Config(
        app, log_level="warning", timeout_graceful_shutdown=_GRACE_S + _CUT_OFF_S, server_header=False
    )
    _Server(config, service).run(sockets=[listening])
