"""Files behind URLs: `s3://`, `gs://`, `hf://`, `https://` and what else fsspec knows that is not on this machine."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from liteframe.data.remote.checksums import checksums_of_headers, checksums_of_info
from liteframe.errors import ConfigError, DataError, DecodeError
from liteframe.system.file_url import NotHere, without_file_url
from liteframe.system.installation import install_hint
from liteframe.system.shown_url import shown_url

BLOCK_BYTES = 8 << 20
REMOTE_PROTOCOLS = (
    *("http", "https", "s3", "s3a", "gs", "gcs", "hf", "az", "abfs", "abfss", "adl", "oss", "oci", "ocilake", "tos"),
    *("ftp", "sftp", "ssh", "smb", "webdav", "webhdfs", "hdfs", "dbfs", "lakefs", "dropbox", "gdrive"),
)
"""What a row of a list may name; others of fsspec lead to this machine's files, or chain to what does."""
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
"""What brings the packages for a protocol."""
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


@dataclass(frozen=True)
class RemoteFile:
    """What a URL holds, to be read once from start to end.

    Attributes:
        stream: its bytes.
        size: how many, where the server tells it.
        etag: the server's mark of this version, or empty.
        checksums: digests that the server told, by hashlib's names.
    """

    stream: BinaryIO
    size: int | None
    etag: str = ""
    checksums: Mapping[str, bytes] = field(default_factory=dict)


def is_url(path: str) -> bool:
    """Whether `path` names something to be fetched."""
    return _URL.match(path) is not None


def local_path(path: str | os.PathLike[str]) -> str:
    """The path of a file of this machine, which may be given as a `file://` URL; for those who fetch nothing.

    Raises:
        DataError: it is a URL of another kind, or of another machine.
    """
    try:
        local = without_file_url(os.fspath(path))
    except NotHere as error:
        raise DataError(str(error)) from None
    if is_url(local):
        raise DataError(f"{local}: nothing is fetched here; download it, and give the file")
    return local


def require_remote(url: str) -> None:
    """Raises DecodeError where `url` is of a protocol that a row may not name."""
    match = _URL.match(url)
    protocol = match[1].lower() if match else ""
    if protocol in REMOTE_PROTOCOLS:
        return
    advice = "give the file's path without a protocol" if protocol in ("file", "local") else "give a remote file"
    raise DecodeError(url, f"is not fetched: {protocol}:// is none of {', '.join(REMOTE_PROTOCOLS)}; {advice}")


def protocol_of(url: str) -> str:
    """Of a URL, in lower case."""
    return url.partition("://")[0].lower()


def folder_of(url: str) -> str:
    """The URL of the folder that a URL's file is in."""
    return re.split(r"[?#]", url, maxsplit=1)[0].rpartition("/")[0]


def system_of(url: str) -> tuple[Any, str]:
    """fsspec's file system for a URL, and the path in it. It remembers no listings, which would be those of before.

    Raises:
        ConfigError: the package that fsspec needs for the protocol is not installed.
    """
    from fsspec import filesystem, get_filesystem_class

    protocol = protocol_of(url)
    try:
        # Not `url_to_fs`, which reads `::` as a chain of file systems.
        kind = get_filesystem_class(protocol)
        system = filesystem(protocol, use_listings_cache=False, **kind._get_kwargs_from_urls(url))
    except (ImportError, ValueError) as error:
        extra = _EXTRAS.get(protocol)
        hint = install_hint(extra) if extra else str(error)
        raise ConfigError(f"{shown_url(url)}: fsspec cannot read such URLs without a package: {hint}") from error
    return system, kind._strip_protocol(url)


def name_for(url: str) -> str:
    """A file name for a copy of `url`: 40 hexadecimal digits, and the ending, by which FFmpeg guesses formats."""
    suffix = PurePosixPath(re.split(r"[?#]", url, maxsplit=1)[0]).suffix.lower()
    digest = hashlib.sha256(url.encode(errors="surrogatepass")).hexdigest()[:40]
    return digest + (suffix if re.fullmatch(r"\.[a-z0-9]{1,5}", suffix) else "")


@contextmanager
def open_url(url: str) -> Iterator[RemoteFile]:
    """Opens what `url` holds.

    Raises:
        DecodeError: no row may name this protocol, or the server led from https to another one.
        ConfigError: the package that fsspec needs for the protocol is not installed.
        Exception: anything else that fsspec's backend raises.
    """
    require_remote(url)
    system, path = system_of(url)
    protocol = protocol_of(url)
    if protocol in ("http", "https"):
        with _open_http(system, url) as file:
            yield file
        return
    info = system.info(path)
    with system.open(path, "rb", block_size=BLOCK_BYTES) as stream:
        yield RemoteFile(stream, _size(info), str(info.get("ETag") or info.get("etag") or ""), checksums_of_info(info))


@contextmanager
def _open_http(system: Any, url: str) -> Iterator[RemoteFile]:
    """One request, read as a stream, with what its own headers say of it."""
    # Compressed on the way, neither its length nor its checksums would be those of the file.
    headers = {**system.kwargs.get("headers", {}), "Accept-Encoding": "identity"}
    # A size keeps fsspec from asking for it by a request of its own; of a stream it makes no use.
    with system.open(url, "rb", block_size=0, size=1, headers=headers) as stream:
        response = stream.r
        require_same_safety(url, [str(hop.url) for hop in (*response.history, response)])
        told = response.headers
        if told.get("Content-Encoding", "identity").lower() not in ("identity", ""):
            yield RemoteFile(stream, _size_by_head(system, stream), told.get("ETag", ""))
            return
        size = response.content_length if "Content-Length" in told else _size_by_head(system, stream)
        # The Hugging Face hub tells the checksum where it sends the reader on to its store.
        linked = [("X-Linked-Etag", hop.headers.get("X-Linked-Etag", "")) for hop in response.history]
        yield RemoteFile(stream, size, told.get("ETag", ""), checksums_of_headers([*told.items(), *linked]))


def require_same_safety(url: str, hops: list[str]) -> None:
    """Raises DecodeError where one of the addresses on the way from `url` is not https although an earlier one was."""
    safe = False
    for hop in hops:
        safe = safe or hop.lower().startswith("https://")
        if safe and not hop.lower().startswith("https://"):
            raise DecodeError(url, f"leads from https to {hop.partition('?')[0]}; give an address that stays on https")


def _size_by_head(system: Any, stream: Any) -> int | None:
    """The size that a server tells who asks for nothing else; some then answer 0, which says nothing."""
    from fsspec.asyn import sync

    async def ask() -> int | None:
        options = {**system.kwargs, "headers": stream.kwargs["headers"]}
        async with stream.session.head(system.encode_url(stream.url), allow_redirects=True, **options) as response:
            plain = response.headers.get("Content-Encoding", "identity").lower() in ("identity", "")
            return response.content_length if response.ok and plain else None

    try:
        return sync(system.loop, ask) or None
    except Exception:  # whatever it is, the file itself has been answered for
        return None


def _size(info: Mapping[str, Any]) -> int | None:
    size = info.get("size")
    return size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None
