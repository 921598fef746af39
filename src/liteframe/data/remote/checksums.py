"""Checksums that servers tell of their files, as far as hashlib can check them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

_SIZES = {"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64}
_BY_BASE64 = {"content-md5": "md5", "x-amz-checksum-sha1": "sha1", "x-amz-checksum-sha256": "sha256"}
_LISTS = ("digest", "repr-digest", "x-goog-hash")
_NAMES = {"md5": "md5", "sha": "sha1", "sha-256": "sha256", "sha-512": "sha512"}


def checksums_of_headers(pairs: Iterable[tuple[str, str]]) -> dict[str, bytes]:
    """Digests by hashlib's names, out of the headers of an HTTP answer that is not compressed.

    An `ETag` is a checksum only where S3 gives it, of a file that was put there in one piece and without a key of its
    own; other servers make theirs of anything.
    """
    headers = [(name.lower(), value) for name, value in pairs]
    found: dict[str, bytes] = {}
    for name, value in headers:
        if name in _BY_BASE64:
            _add(found, _BY_BASE64[name], _from_base64(value))
        elif name in _LISTS:
            for item in value.split(","):
                kind, _, digest = item.strip().partition("=")
                _add(found, _NAMES.get(kind.lower(), ""), _from_base64(digest.strip(":")))
        elif name == "x-linked-etag":
            _add(found, "sha256", _from_hex(value, 64))
        elif name == "etag" and _is_plain_s3(dict(headers)):
            _add(found, "md5", _from_hex(value, 32))
    return found


def _is_plain_s3(headers: Mapping[str, str]) -> bool:
    by_key = any(name.startswith("x-amz-server-side-encryption-customer") for name in headers)
    kept_by = headers.get("x-amz-server-side-encryption", "AES256")
    return "x-amz-request-id" in headers and not by_key and kept_by == "AES256"


def checksums_of_info(info: Mapping[str, Any]) -> dict[str, bytes]:
    """Digests by hashlib's names, out of what a file system of fsspec says of a file: Google's, Azure's, the hub's."""
    found: dict[str, bytes] = {}
    for name in ("md5Hash", "Content-MD5"):
        if isinstance(info.get(name), str):
            _add(found, "md5", _from_base64(info[name]))
    settings = info.get("content_settings")
    md5 = settings.get("content_md5") if isinstance(settings, Mapping) else None
    _add(found, "md5", bytes(md5) if isinstance(md5, bytes | bytearray) else None)
    lfs = info.get("lfs")
    sha256 = lfs.get("sha256") if isinstance(lfs, Mapping) else getattr(lfs, "sha256", None)
    _add(found, "sha256", _from_hex(sha256, 64) if isinstance(sha256, str) else None)
    return found


def _add(found: dict[str, bytes], kind: str, digest: bytes | None) -> None:
    if digest is not None and len(digest) == _SIZES.get(kind):
        found[kind] = digest


def _from_base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):  # such as the `-3` behind a digest of digests
        return None


def _from_hex(text: str, digits: int) -> bytes | None:
    match = re.fullmatch(rf'"?([0-9a-fA-F]{{{digits}}})"?', text.strip())
    return bytes.fromhex(match[1]) if match else None


class Digests:
    """Digests of bytes as they come: sha256 always, and those that the server told; `bytes` is how many have come."""

    def __init__(self, told: Mapping[str, bytes]) -> None:
        self._told = told
        self.bytes = 0
        self._running = {kind: hashlib.new(kind, usedforsecurity=False) for kind in {"sha256", *told}}

    def update(self, data: bytes) -> None:
        self.bytes += len(data)
        for digest in self._running.values():
            digest.update(data)

    @property
    def sha256(self) -> str:
        """Hexadecimal, of all bytes so far."""
        return self._running["sha256"].hexdigest()

    def wrong(self) -> str:
        """Which of the told digests differs; empty where none does."""
        return next((kind for kind, digest in self._told.items() if self._running[kind].digest() != digest), "")
