"""Videos that a request names, as files of this machine."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import mimetypes
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from liteframe.data.remote.content import HEAD_BYTES, missing_bytes, not_a_video
from liteframe.data.sources.video_part import part_of_url
from liteframe.serving.fetch import FetchPolicy, fetch
from liteframe.serving.refusal import Refusal
from liteframe.system.contained_path import OutsideRoot, contained
from liteframe.system.file_url import NotHere, without_file_url

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_DATA = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[^,;]*)*),", re.ASCII)
_SHOWN = 80
_LONGEST_URL = 8192
"""Of a server; what is longer is the video itself."""
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class LocalVideo:
    """A video on this machine.

    Attributes:
        path: of the file.
        identity: the same for the same bytes; of a file that was there before, while it does not change.
    """

    path: Path
    identity: str


@dataclass(frozen=True)
class MediaPolicy:
    """Where videos may come from, and how large they may be.

    Args:
        folder: whose files `file:` URLs may name; None allows no such URL.
        remote: which URLs are fetched, and within which limits.
    """

    folder: Path | None
    remote: FetchPolicy

    async def local(self, url: str, field: str, folder: Path) -> LocalVideo:
        """The video behind a URL.

        Args:
            url: `file:`, `data:`, or what the policy has fetched.
            field: of the request that holds it.
            folder: to put what comes from elsewhere in.

        Raises:
            Refusal: no such URL is allowed, or there is no video behind it.
        """
        if (part := part_of_url(url[:_LONGEST_URL])) is not None:
            raise Refusal(400, f"{field}: #{part} is not read; give start and end in mm_processor_kwargs", field)
        scheme = match[1].lower() if (match := _SCHEME.match(url[:64])) else ""
        if scheme == "file":
            return await asyncio.to_thread(self._of_folder, url, field)
        if scheme == "data":
            path = await asyncio.to_thread(_written, url, field, folder, self.remote.most_bytes)
        elif scheme in ("http", "https"):
            path = await fetch(url, field, folder, self.remote)
        else:
            raise Refusal(400, f"{field}: {url[:_SHOWN]!r} is no URL of file:, data: or https:", field)
        return await asyncio.to_thread(_looked_at, path, field)

    def _of_folder(self, url: str, field: str) -> LocalVideo:
        if self.folder is None:
            option = "--allowed_local_media_path FOLDER"
            raise Refusal(403, f"{field}: file: URLs are not allowed; whoever runs the server can give {option}", field)
        try:
            path = contained(self.folder, without_file_url(url)).resolve()
        except (NotHere, OutsideRoot):
            # The same for what exists and what does not.
            raise Refusal(403, f"{field}: names no file of the folder that may be read", field) from None
        try:
            found = os.stat(path)
        except OSError as error:
            raise Refusal(400, f"{field}: cannot be read: {error.strerror}", field) from None
        if not stat.S_ISREG(found.st_mode):
            raise Refusal(400, f"{field}: is no regular file", field)
        return LocalVideo(path, f"{path}:{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}")


def _written(url: str, field: str, folder: Path, most_bytes: int) -> Path:
    """The bytes of a `data:` URL in a file."""
    match = _DATA.match(url[:1024])
    if match is None or "base64" not in match[2].lower().split(";"):
        raise Refusal(400, f"{field}: a data: URL is data:video/...;base64, and the file in base64", field)
    if match[1] == "video/jpeg" or (match[1] or "").startswith("image/"):
        raise Refusal(
            400, f"{field}: {match[1]} is pictures; send the video itself, as data:video/mp4;base64,...", field
        )
    try:
        content = base64.b64decode(url[match.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(400, f"{field}: what follows base64, is no base64", field) from None
    if len(content) > most_bytes:
        raise Refusal(413, f"{field}: has {len(content)} bytes; this server takes {most_bytes}", field)
    path = folder / f"video{mimetypes.guess_extension(match[1] or '') or ''}"
    path.write_bytes(content)
    return path


def _looked_at(path: Path, field: str) -> LocalVideo:
    """What came, once it is seen to be a whole video as far as that is cheap to see."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        if what := not_a_video(head := file.read(HEAD_BYTES)):
            raise Refusal(400, f"{field}: it is {what}", field)
        digest.update(head)
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    if missing := missing_bytes(path):
        raise Refusal(400, f"{field}: is cut short; its container goes on for {missing} more bytes", field)
    return LocalVideo(path, digest.hexdigest())
