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
    return "[" + ", ".join([_in_json(value, encode) for value in values]) + "]"


def _in_json(value: Any, encode: Encode) -> str:
    if value is None:
        return "null"
    return "{}" if type(value) is dict and not value else encode(value)
