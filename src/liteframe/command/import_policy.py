"""Holds the parser of configs to the names of code that `code_names` allows, at the moment of importing.

What a text looks like is a guess; here jsonargparse itself asks before each import, whatever way led to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import is_dataclass
from importlib import import_module
from typing import Any, get_args, get_type_hints

from jsonargparse import set_parsing_settings

from liteframe.command.code_names import ALLOW_CODE, KNOWN, Names, split_flag
from liteframe.errors import ConfigError

_opened: set[str] = set()
_closed = False


def parse_by_trust(parse: Callable[[list[str]], Any], words: Sequence[str]) -> Any:
    """What `parse` makes of the words, of which foreign configs name known code only.

    Once a foreign config was parsed in a process, its parser asks for names for good; those that users write are open.

    Raises:
        ConfigError: a foreign config names code that is not known.
    """
    rest, allowed = split_flag(words)
    names = Names.of(rest, allow_code=allowed)
    foreign = names.foreign and not allowed
    if foreign or _closed:
        _close(names.trusted)
    try:
        config = parse(rest)
    except ImportError as error:  # of what reads an address such as s3://
        raise ConfigError(f"{names.files() or 'the command'}: {error}; install it, or copy the file here") from error
    if foreign:
        for decoder in _decoders(config):
            if ":" in decoder and decoder not in names.trusted:
                raise ConfigError(f"decoder is {decoder!r}, code of a foreign config; {ALLOW_CODE} would allow it")
    return config


def _close(trusted: set[str]) -> None:
    global _closed
    known = {f"{package}.{name}" for package, classes in KNOWN.items() for name in classes}
    known |= {settings for name in known for settings in _settings_of(name)}
    allowed = {path for name in known for path in _paths(name)}
    allowed |= {path for name in trusted if ":" not in name for path in _paths(name)}
    allowed = {path for path in allowed if path.partition(".")[0] != "jsonargparse"}
    set_parsing_settings(import_path_denylist=["*", *sorted(_opened - allowed)], import_path_allowlist=sorted(allowed))
    _opened.update(allowed)
    _closed = True


def _paths(name: str) -> set[str]:
    """A name, and the others that what it names can be imported by: the parser prefers the shortest."""
    module, _, last = name.rpartition(".")
    try:
        found = getattr(import_module(module), last)
    except (ImportError, AttributeError, ValueError):
        return {name}
    paths = {name}
    for home in (module, str(getattr(found, "__module__", ""))):
        parts = home.split(".")
        packages = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
        paths |= {f"{package}.{last}" for package in packages if _holds(package, last, found)}
    return paths


def _settings_of(name: str) -> set[str]:
    """The dataclasses of liteframe that a known class takes, at any depth: the parser asks for these by name too."""
    module, _, last = name.rpartition(".")
    if not name.startswith("liteframe."):
        return set()
    found: set[str] = set()
    left = [getattr(import_module(module), last)]
    while left:
        kind = left.pop()
        for hint in get_type_hints(kind.__init__).values():
            for part in _parts_of(hint):
                path = f"{part.__module__}.{part.__qualname__}" if is_dataclass(part) and isinstance(part, type) else ""
                if path.startswith("liteframe.") and path not in found:
                    found.add(path)
                    left.append(part)
    return found


def _parts_of(hint: Any) -> Iterator[Any]:
    """The types that a type hint is made of."""
    yield hint
    for part in get_args(hint):
        yield from _parts_of(part)


def _holds(package: str, name: str, found: object) -> bool:
    try:
        return getattr(import_module(package), name, None) is found
    except (ImportError, ValueError):
        return False


def _decoders(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, str):
        if key == "decoder":
            yield value
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _decoders(inner, key)
    elif isinstance(value, dict) or hasattr(value, "__dict__"):
        for name, inner in (value if isinstance(value, dict) else vars(value)).items():
            yield from _decoders(inner, str(name).rpartition(".")[2])
