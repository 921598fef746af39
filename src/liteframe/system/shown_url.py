"""URLs as messages show them: without what only their owner may know."""

from __future__ import annotations

import re

_USER = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)[^/?#]*@")


def shown_url(url: str) -> str:
    """`url` without name and password, and without its query, where signatures and tokens are."""
    return _USER.sub(r"\1", re.split(r"[?#]", url, maxsplit=1)[0])
