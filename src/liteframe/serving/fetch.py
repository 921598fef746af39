"""Videos behind URLs that somebody else wrote: fetched from public addresses, within limits of size and time.

The address is looked at where the connection is made, so a name that has another address the second time it is looked
up, a redirect, and an address written as a number all meet the same check. Proxies of the environment are not used:
what they connect to, nobody here could see.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liteframe.data.remote.content import HEAD_BYTES, not_a_video
from liteframe.data.remote.file import name_for
from liteframe.serving.refusal import Refusal

_MOST_REDIRECTS = 5
_BLOCK_BYTES = 1 << 16
_REDIRECTS = (301, 302, 303, 307, 308)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_FORBIDDEN = "leads to an address that is not public, which this server does not connect to"


@dataclass(frozen=True)
class FetchPolicy:
    """What may be fetched.

    Args:
        schemes: of URLs.
        domains: hosts that URLs may name; None is any.
        private: whether addresses that are not public are connected to, too.
        most_bytes: of a video.
        timeout_s: seconds for a video, redirects included.
    """

    schemes: tuple[str, ...]
    domains: tuple[str, ...] | None
    private: bool
    most_bytes: int
    timeout_s: float


async def fetch(url: str, field: str, folder: Path, policy: FetchPolicy) -> Path:
    """The file that a URL holds, written into a folder.

    Args:
        url: of `https:` or `http:`.
        field: of the request that holds it, for messages.
        folder: to write to.
        policy: what may be fetched.

    Raises:
        Refusal: the policy does not allow it, or it cannot be fetched.
    """
    import aiohttp

    refused: list[str] = []
    connector = aiohttp.TCPConnector(socket_factory=_guarded(policy, refused))
    options: dict[str, Any] = {
        "connector": connector,
        "timeout": aiohttp.ClientTimeout(total=None),
        "cookie_jar": aiohttp.DummyCookieJar(),
        # Compressed on the way, few bytes can become many.
        "headers": {"Accept-Encoding": "identity"},
    }
    try:
        async with aiohttp.ClientSession(**options) as session:
            return await asyncio.wait_for(_follow(session, url, field, folder, policy), policy.timeout_s)
    except asyncio.TimeoutError:
        raise Refusal(400, f"{field}: was not fetched within {policy.timeout_s:g} s", field) from None
    except (aiohttp.ClientError, ValueError, OSError) as error:
        if refused:
            raise Refusal(403, f"{field}: {refused[0]}", field) from None
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise Refusal(400, f"{field}: cannot be fetched: {said}", field) from None


async def _follow(session: Any, url: str, field: str, folder: Path, policy: FetchPolicy) -> Path:
    from yarl import URL

    path, here = folder / name_for(url), URL(url)
    for _ in range(_MOST_REDIRECTS + 1):
        _require_allowed(here, field, policy)
        async with session.get(here, allow_redirects=False) as response:
            if response.status in _REDIRECTS and "Location" in response.headers:
                here = here.join(URL(response.headers["Location"]))
                continue
            if response.status != 200:
                raise Refusal(400, f"{field}: cannot be fetched: {response.status} {response.reason}", field)
            await _write(response, path, field, policy)
            return path
    raise Refusal(400, f"{field}: leads on more than {_MOST_REDIRECTS} times", field)


def _require_allowed(url: Any, field: str, policy: FetchPolicy) -> None:
    if url.scheme not in policy.schemes:
        raise Refusal(403, f"{field}: {url.scheme}: URLs are not fetched, only {', '.join(policy.schemes)}", field)
    if policy.domains is not None and (url.host or "").lower() not in policy.domains:
        raise Refusal(403, f"{field}: videos of {url.host} are not fetched, only of {', '.join(policy.domains)}", field)


async def _write(response: Any, path: Path, field: str, policy: FetchPolicy) -> None:
    too_large = Refusal(413, f"{field}: has more than the {policy.most_bytes} bytes that this server takes", field)
    if (response.content_length or 0) > policy.most_bytes:
        raise too_large
    head, come = b"", 0
    with open(path, "wb") as file:
        async for block in response.content.iter_chunked(_BLOCK_BYTES):
            come += len(block)
            if come > policy.most_bytes:
                raise too_large
            if len(head) < HEAD_BYTES:
                head += block[: HEAD_BYTES - len(head)]
                if len(head) == HEAD_BYTES and (what := not_a_video(head)):
                    raise Refusal(400, f"{field}: it is {what}", field)
            file.write(block)


def _guarded(policy: FetchPolicy, refused: list[str]) -> Callable[[Any], socket.socket]:
    """Makes the socket for an address, unless it may not be connected to; then `refused` says so."""

    def make(address_info: Any) -> socket.socket:
        family, kind, protocol, _, address = address_info
        if not policy.private and not is_public(address[0]):
            refused.append(_FORBIDDEN)
            raise OSError(_FORBIDDEN)
        return socket.socket(family, kind, protocol)

    return make


def is_public(address: str) -> bool:
    """Whether an address is one of the open internet, and so is the IPv4 address that it may stand for."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inside = ip.ipv4_mapped or ip.sixtofour
        if inside is None and ip in _NAT64:
            inside = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inside is not None:
            return is_public(str(inside))
        if ip.teredo is not None or ip not in _GLOBAL_UNICAST:
            return False
    return ip.is_global and not ip.is_multicast
