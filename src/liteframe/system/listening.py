"""Where a server of this process listens."""

from __future__ import annotations

import ipaddress
import socket

from liteframe.errors import ConfigError


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that has the address, so that what is wrong with it is told before a model is loaded.

    Raises:
        ConfigError: it is not an address of this machine, or is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--host {host} --port {port}: cannot be listened at: {error}") from None
    return listening


def is_loopback(listening: socket.socket) -> bool:
    """Whether this machine alone can reach it."""
    return ipaddress.ip_address(listening.getsockname()[0]).is_loopback


def http_url(listening: socket.socket) -> str:
    """Where browsers and clients find it, without a slash at the end."""
    address, port = listening.getsockname()[:2]
    return f"http://{f'[{address}]' if ':' in address else address}:{port}"
