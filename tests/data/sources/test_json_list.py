"""Lists in JSON, against the standard library."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any

import pytest

from liteframe.data.sources.json_list import ascii_json, json_list, unicode_json

VALUES: list[Any] = [None, "", 'ü🎥\\"\n\0\ud83d', 0, False, True, 1.5, 10**30, [], [[]], {}, {"a": {}}, OrderedDict()]


@pytest.mark.parametrize("values", [[], VALUES, [*VALUES, float("inf"), {"deep": [1, None, "x"]}]])
def test_lists_are_those_of_the_standard_library(values: list[Any]) -> None:
    assert json_list(values) == json_list(values, ascii_json) == json.dumps(values)
    assert json_list(values, unicode_json) == json.dumps(values, ensure_ascii=False)
