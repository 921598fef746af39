"""Checksums that servers tell, against hashlib; and what only looks like one."""

from __future__ import annotations

import base64
import hashlib
from types import SimpleNamespace
from typing import Any

import pytest

from liteframe.data.remote.checksums import Digests, checksums_of_headers, checksums_of_info

BODY = b"frames"
MD5, SHA1, SHA256 = (hashlib.new(kind, BODY) for kind in ("md5", "sha1", "sha256"))


def b64(digest: Any) -> str:
    return base64.b64encode(digest.digest()).decode()


S3 = ("x-amz-request-id", "1")
S3_TAG = ("ETag", f'"{MD5.hexdigest()}"')


@pytest.mark.parametrize(
    ("headers", "kinds"),
    [
        ([("Content-MD5", b64(MD5))], {"md5"}),
        ([("x-goog-hash", f"crc32c=AAAAAA==,md5={b64(MD5)}")], {"md5"}),
        ([("x-goog-hash", "crc32c=AAAAAA=="), ("x-goog-hash", f"md5={b64(MD5)}")], {"md5"}),
        ([("Digest", f"SHA={b64(SHA1)}, sha-256={b64(SHA256)}")], {"sha1", "sha256"}),
        ([("Repr-Digest", f"sha-256=:{b64(SHA256)}:")], {"sha256"}),
        ([("X-Linked-Etag", f'"{SHA256.hexdigest()}"')], {"sha256"}),
        ([("X-Amz-Checksum-Sha256", b64(SHA256))], {"sha256"}),
        ([S3, S3_TAG], {"md5"}),
        ([S3, S3_TAG, ("x-amz-server-side-encryption", "AES256")], {"md5"}),
        ([S3, S3_TAG, ("x-amz-server-side-encryption", "aws:kms")], set()),
        ([S3, S3_TAG, ("x-amz-server-side-encryption-customer-algorithm", "AES256")], set()),
        ([S3, ("ETag", f'"{MD5.hexdigest()}-3"')], set()),
        ([S3_TAG], set()),
        ([("ETag", 'W/"5f3-6b1"'), ("Content-MD5", "not base64"), ("Digest", "md5=AAAA"), ("x-goog-hash", "")], set()),
        ([("X-Amz-Checksum-Sha256", b64(SHA256) + "-3")], set()),
    ],
)
def test_headers(headers: list[tuple[str, str]], kinds: set[str]) -> None:
    found = checksums_of_headers(headers)
    assert found == {kind: hashlib.new(kind, BODY).digest() for kind in kinds}


@pytest.mark.parametrize(
    ("info", "kinds"),
    [
        ({"md5Hash": b64(MD5), "size": 6}, {"md5"}),
        ({"content_settings": {"content_md5": bytearray(MD5.digest())}}, {"md5"}),
        ({"lfs": {"sha256": SHA256.hexdigest()}}, {"sha256"}),
        ({"lfs": SimpleNamespace(sha256=SHA256.hexdigest(), size=6)}, {"sha256"}),
        ({"lfs": None, "content_settings": {"content_md5": None}, "ETag": MD5.hexdigest(), "md5Hash": 7}, set()),
    ],
)
def test_file_systems(info: dict[str, Any], kinds: set[str]) -> None:
    assert checksums_of_info(info) == {kind: hashlib.new(kind, BODY).digest() for kind in kinds}


def test_digests_are_of_all_that_came() -> None:
    digests = Digests({"md5": MD5.digest(), "sha1": SHA1.digest()})
    for place in range(len(BODY)):
        assert digests.wrong() != ""
        digests.update(BODY[place : place + 1])
    assert digests.wrong() == "" and digests.sha256 == SHA256.hexdigest() and digests.bytes == len(BODY)
