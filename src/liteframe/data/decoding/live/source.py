"""What `liteframe chat --stream` may watch: a growing file, a pipe, a camera or a URL, told apart by its name.

Torch-free, because the process that reads it imports it.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import Literal

from liteframe.data.decoding.video_file import fault_of
from liteframe.data.remote.file import is_url, local_path
from liteframe.errors import ConfigError, DecodeError

Kind = Literal["file", "pipe", "camera", "url"]

STDIN = "-"
_NAMES_OF_STDIN = ("/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")
"""In the process that reads, they would be another file."""
PROTOCOLS = {
    "rtsp": "rtsp,rtp,srtp,udp,tcp",
    "rtsps": "rtsp,rtsps,rtp,srtp,udp,tcp,tls",
    "udp": "udp",
    "tcp": "tcp",
    "rtmp": "rtmp,tcp",
    "srt": "srt",
    "http": "http,httpproxy,tcp",
    "https": "https,httpproxy,tls,tcp",
}
"""Of URLs, with those of FFmpeg that each may lead to: never a file."""
_WAIT = {"tcp", "http", "https"}
"""Protocols whose server sends no faster than it is read."""


@dataclass(frozen=True)
class LiveSource:
    """A video that goes on while it is watched.

    Attributes:
        name: as it was given.
        kind: a file is followed as it grows; a pipe is stdin (`-`) or a named one.
        path: of the file, pipe or camera, or the URL.
    """

    name: str
    kind: Kind
    path: str

    @classmethod
    def of(cls, name: str) -> LiveSource:
        """The source of that name.

        Raises:
            DecodeError: nothing of that name that can be read.
            ConfigError: a URL of a protocol that is not read.
        """
        if name in (STDIN, *_NAMES_OF_STDIN):
            if os.isatty(0):
                raise DecodeError("stdin", "is a terminal: pipe a video into it")
            return cls(STDIN, "pipe", STDIN)
        if is_url(name) and (protocol := _protocol(name)) != "file":
            if protocol not in PROTOCOLS:
                known = ", ".join(PROTOCOLS)
                raise ConfigError(f"{name}: streams of {protocol} are not read; give a URL of one of {known}")
            return cls(name, "url", name)
        path = local_path(name)
        try:
            mode = os.stat(path).st_mode
        except (OSError, ValueError):
            raise DecodeError(path, fault_of(path)) from None
        if stat.S_ISFIFO(mode):
            return cls(name, "pipe", path)
        if stat.S_ISCHR(mode):
            return cls(name, "camera", path)
        if fault := fault_of(path):
            raise DecodeError(path, fault)
        return cls(name, "file", path)

    @property
    def told(self) -> str:
        """Its name in messages, without the password that a URL may hold."""
        if self.kind != "url":
            return "stdin" if self.name == STDIN else self.name
        protocol, _, rest = self.name.partition("://")
        place, slash, path = rest.partition("/")
        return f"{protocol}://{place.rpartition('@')[2]}{slash}{path}"

    @property
    def waits(self) -> bool:
        """Whether it waits for its reader, so that no frame has to be dropped."""
        return self.kind in ("file", "pipe") or (self.kind == "url" and _protocol(self.path) in _WAIT)


def _protocol(url: str) -> str:
    return url.partition("://")[0].lower()
