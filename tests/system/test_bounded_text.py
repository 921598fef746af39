"""Hostile JSON and YAML end in a named error, at once."""

from __future__ import annotations

import json

import pytest

from liteframe.errors import ConfigError, StoreError
from liteframe.system.bounded_text import MAX_DEPTH, MAX_YAML_ITEMS, depth_of, parse_json, parse_yaml

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))


def test_good_text_is_what_the_libraries_make_of_it() -> None:
    value = {"a": [1, {"b": None}], "c": "ä"}
    assert parse_json(json.dumps(value).encode(), "x.json") == value
    assert parse_json("\ufeff".encode() + b"[]", "x.json") == []
    assert parse_yaml("a: &x [1, 2]\nb: *x\n", "x.yaml") == {"a": [1, 2], "b": [1, 2]}
    assert parse_yaml("", "x.yaml") is None


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 100_000 + "]" * 100_000, '{"a":' * 500 + "1" + "}" * 500])
def test_deep_text_is_refused_by_name(text: str) -> None:
    with pytest.raises(StoreError, match=r"x: (nested deeper|not JSON)"):
        parse_json(text, "x", StoreError)
    with pytest.raises(ConfigError, match=r"x: (nested deeper|not YAML)"):
        parse_yaml(text, "x")


@pytest.mark.parametrize("data", [b"\xff\xfe", b"{", b"", b"1" * 5000, b'{"a": 1,}'])
def test_what_is_no_json_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(ConfigError, match=r"x: not JSON \(.*\); repair it"):
        parse_json(data, "x")


@pytest.mark.parametrize(
    "text", [BOMB, "a: &a [*a]", "x: " + "y" * 1_000_001, "a: [", "!!python/object/apply:os.system ['true']"]
)
def test_bombs_and_tags_are_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^x: "):
        parse_yaml(text, "x")


def test_depth_counts_levels() -> None:
    assert [depth_of(value) for value in (1, [], [1], {"a": [1]}, [[], [[{}]]])] == [0, 1, 1, 2, 4]
    nested: object = 0
    for _ in range(2 * MAX_DEPTH):
        nested = [nested]
    assert depth_of(nested) == MAX_DEPTH + 1


def test_a_list_that_the_parser_of_configs_would_take_minutes_for_is_refused_by_its_line() -> None:
    assert parse_yaml(f"a: {list(range(MAX_YAML_ITEMS))}", "x.yaml") == {"a": list(range(MAX_YAML_ITEMS))}
    with pytest.raises(ConfigError, match=r"^x.yaml: line 2: a list of 257 items"):
        parse_yaml(f"b: 1\na: {list(range(MAX_YAML_ITEMS + 1))}", "x.yaml")


@pytest.mark.parametrize(
    "text", ["a: [1\nb: }", "a:\n\tb: 1", "a: *x", "a: 'x", "a\x00b", "!!python/object:a b", "x: 2001-99-99"]
)
def test_text_that_is_no_yaml_is_told_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^x\.yaml: not YAML \(.+\); repair it$") as raised:
        parse_yaml(text, "x.yaml")
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(("number", "base"), [("010", 8), ("-0_17", 8), ("1:30", 60), ("1:30.5", 60)])
def test_numbers_to_an_old_base_are_told_by_their_line(number: str, base: int) -> None:
    with pytest.raises(ConfigError, match=rf"x\.yaml: line 2: YAML reads {number} as a number to the base {base}"):
        parse_yaml(f"a: 1\nframes: {number}\n", "x.yaml")


def test_other_numbers_and_texts_of_digits_are_as_yaml_reads_them() -> None:
    text = "[10, 0, 1_000, 0x10, 1.5e-3, '010', '1:30', 00:0a, 2024-01-02, 0.10, 09]"
    assert parse_yaml(text, "x.yaml")[:7] == [10, 0, 1000, 16, 0.0015, "010", "1:30"]
