"""What messages show of a URL holds no credentials, and all else that tells which one it is."""

from __future__ import annotations

import pytest

from liteframe.system.shown_url import shown_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket/a b@c/x.mp4", "s3://bucket/a b@c/x.mp4"),
        ("s3://key:sec/ret+x=@bucket/x.mp4", "s3://bucket/x.mp4"),
        ("https://user:word@host:8080/a@b.mp4", "https://host:8080/a@b.mp4"),
        ("https://token@host/x", "https://host/x"),
        ("https://host:8080/a@b.mp4?X-Amz-Signature=abc#t=1", "https://host:8080/a@b.mp4"),
        ("https://[::1]:80/a@b", "https://[::1]:80/a@b"),
    ],
)
def test_no_credentials_are_shown(url: str, shown: str) -> None:
    assert shown_url(url) == shown
