"""URLs as messages show them: without what only their owner may know."""

from __future__ import annotations

import re

# Secret keys of S3 may hold slashes. What is behind a colon and digits is a port, and the path then.
USERINFO = re.compile(r"(?<=://)(?:[^/\s?#'\"]*|[^/\s:@?#'\"[]*:(?!\d+/)[^\s?#'\"]*)@")
"""What stands before the host of a URL, name and password, with the `@`."""


def shown_url(url: str) -> str:
    """`url` without name and password, and without its query, where signatures and tokens are."""
    return USERINFO.sub("", re.split(r"[?#]", url, maxsplit=1)[0])
