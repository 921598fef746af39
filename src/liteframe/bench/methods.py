"""The methods that are compared: what each is called, looks like in pictures, and belongs to (`methods.toml`)."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

STORY = ("teacher", "teacher+wap", "liteframe-ctd", "liteframe-lma")
"""What the comparison is about; all others are rivals or variants."""


@dataclass(frozen=True)
class Method:
    """One entry of `methods.toml`, which says what the fields mean."""

    name: str
    label: str
    colour: str = "#777777"
    marker: str = "x"
    group: str = "unnamed"
    source: str = "-"
    same_as: str | None = None


@cache
def methods() -> dict[str, Method]:
    """All methods by name, in the order of tables."""
    return {name: Method(name, **fields) for name, fields in tomllib_load(__file__)["methods"].items()}


def tomllib_load(module: str) -> dict[str, Any]:
    """The TOML file beside a module, of the same name."""
    return tomllib.loads(Path(module).with_suffix(".toml").read_text(encoding="utf-8"))


def method(name: str) -> Method:
    """The method of that name; one that the registry lacks is called by its name and drawn grey."""
    return methods().get(name) or Method(name, name)


def label(name: str) -> str:
    """What tables and pictures call it."""
    return method(name).label


def of_groups(*groups: str) -> list[str]:
    """The names of the methods in some groups."""
    return [name for name, found in methods().items() if found.group in groups]


def in_order(names: Iterable[str]) -> list[str]:
    """Each name once, in the order of tables; those that the registry lacks last."""
    place = {name: index for index, name in enumerate(methods())}
    return sorted(dict.fromkeys(names), key=lambda name: place.get(name, len(place)))
