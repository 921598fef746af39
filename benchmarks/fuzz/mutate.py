"""Damage to bytes, and hostile values in structures (JSON, YAML), all drawn from one generator."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

DEEP, DIGITS, ENDLESS = "@@deep@@", "@@digits@@", "@@endless@@"
_RAW = {f'"{DEEP}"': "[" * 100_000 + "]" * 100_000, f'"{DIGITS}"': "9" * 6_000, f'"{ENDLESS}"': "1e999"}


def damage(rng: random.Random, data: bytes, others: Sequence[bytes]) -> tuple[bytes, str]:
    """Other bytes than `data`, and the name of what was done; `others` are files to splice with."""
    for _ in range(20):
        name = rng.choice(list(_DAMAGES))
        out = _DAMAGES[name](rng, data, others)
        if out != data:
            return out, name
    return data + b"\0", "append"


def _flip(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 4, 32))):
        if out:
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def _span(rng: random.Random, data: bytes) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((1, 4, 16, 64, 512, 4096)))


def _noise(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, stop = _span(rng, data)
    return data[:start] + rng.randbytes(stop - start) + data[stop:]


def _fill(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, stop = _span(rng, data)
    return data[:start] + rng.choice((b"\0", b"\xff")) * (stop - start) + data[stop:]


def _truncate(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    return data[: rng.choice((rng.randrange(len(data) + 1), max(0, len(data) - rng.randint(1, 16))))]


def _insert(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + rng.randbytes(rng.choice((1, 8, 100))) + data[start:]


def _drop(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, stop = _span(rng, data)
    return data[:start] + data[stop:]


def _repeat(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, stop = _span(rng, data)
    return data[:stop] + data[start:stop] + data[stop:]


def _splice(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    other = rng.choice(others) if others else b""
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


def _swap(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    return rng.choice(others) if others else b""


def _append(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    return data + rng.choice([rng.randbytes(64), data, *others[:3]])


_DAMAGES: dict[str, Callable[[random.Random, bytes, Sequence[bytes]], bytes]] = {
    function.__name__[1:]: function
    for function in (_flip, _noise, _fill, _truncate, _insert, _drop, _repeat, _splice, _swap, _append)
}


def damage_file(rng: random.Random, path: Path, others: Sequence[Path] = ()) -> str:
    """Damages a file in place; the name of what was done and to which file."""
    data, name = damage(rng, path.read_bytes(), [other.read_bytes() for other in others])
    path.write_bytes(data)
    return f"{name} {path.name}"


def hostile_values(rng: random.Random, names: Sequence[Any]) -> Any:
    """A value that nobody expects; `names` are words for whatever is at stake: paths out, code, addresses."""
    values = [
        lambda: rng.choice((0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 10**9, 0.5, -0.0, 1e308, 1e-320)),
        lambda: rng.choice((float("nan"), float("inf"), -float("inf"), DIGITS, ENDLESS)),
        lambda: rng.choice(
            ("", " ", "\0", "a\0b", "\ud800", "x\udfff.mp4", "a" * 100_000, "\u202e\u2028", "1", "null")
        ),
        lambda: rng.choice((None, True, False, [], {}, [[]], [{}], {"": None}, [None], "abc", ["abc"], {"a": "b"})),
        lambda: rng.choice(names) if names else None,
        lambda: [rng.choice(names)] if names else None,
        lambda: DEEP,
        lambda: list(range(1_000)),
    ]
    return rng.choice(values)()


def mutate_tree(rng: random.Random, value: Any, names: Sequence[Any], times: int | None = None) -> tuple[Any, str]:
    """A copy of a tree of dicts and lists with a few things changed in it, and their names."""
    tree, done = copy.deepcopy(value), []
    for _ in range(times if times is not None else rng.choice((1, 1, 1, 2, 5))):
        places = list(islice(_places(tree), 2_000))
        if not places:
            break
        holder, key = rng.choice(places)
        done.append(_change(rng, holder, key, names, places))
    return tree, ", ".join(done)


def _places(tree: Any) -> Any:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield tree, key
        yield from _places(value)


def _change(rng: random.Random, holder: Any, key: Any, names: Sequence[Any], places: list[tuple[Any, Any]]) -> str:
    how = rng.choice(("value", "value", "value", "delete", "kind", "rename", "exchange", "wrap"))
    if how == "delete":
        del holder[key]
    elif how == "rename" and isinstance(holder, dict):
        holder[str(rng.choice([*names, f"{key} ", "path", "id"]))] = holder.pop(key)
    elif how == "exchange":
        other, there = rng.choice(places)
        a, b = copy.deepcopy(holder[key]), copy.deepcopy(other[there])
        holder[key], other[there] = b, a
    elif how == "wrap":
        holder[key] = rng.choice(([holder[key]], {str(key): holder[key]}, [holder[key], holder[key]]))
    elif how == "kind":
        holder[key] = _other_kind(holder[key])
    else:
        holder[key] = hostile_values(rng, names)
    return f"{how} {str(key)[:40]}"


def _other_kind(value: Any) -> Any:
    if isinstance(value, str):
        return int(value) if value.isdecimal() else [value]
    if isinstance(value, bool) or value is None:
        return "true"
    return str(value) if isinstance(value, int | float | list | dict) else 0


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON text, with what no JSON writer would write in the places that ask for it."""
    text = json.dumps(value, indent=indent)
    for mark, raw in _RAW.items():
        text = text.replace(mark, raw)
    return text
