"""Lists of values in JSON, of which most are texts or nothing, as rows are."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

Encode = Callable[[Any], str]

ascii_json: Encode = json.JSONEncoder().encode
unicode_json: Encode = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode


def json_list(values: Sequence[Any], encode: Encode = ascii_json) -> str:
    """What `encode` makes of the list of the values.

    The standard library makes an encoder anew for each value that is no text, which takes longer than most rows.
    """
    return f"[{', '.join(['null' if value is None else '{}' if value == {} else encode(value) for value in values])}]"
