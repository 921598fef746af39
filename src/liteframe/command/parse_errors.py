"""What the parser of configs says of a setting, in one line that names the file it stands in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from liteframe.errors import ConfigError, as_one_line
from liteframe.system.bounded_text import numbers_to_old_bases, old_base_fault, parse_yaml

_KEY = re.compile(r"""(?:key|option|argument|Key|arguments:)\s+["']?(?:-c/)?-*([\w.]+)""")
_BOILERPLATE = re.compile(
    r"Does not validate against|Subtypes: |Errors:|Expected a <class 'NoneType'>|Given value type: "
    r"|Subclass types expect|a class path \(str\)|a dict with(?:out)? "
)
_MOST_OF_A_VALUE = 80


def parse_error_line(message: str, words: Sequence[str]) -> str:
    """The message in one line, behind the config that holds the setting it is about.

    Args:
        message: of the parser.
        words: of the command line, `--config` with the paths of files.
    """
    key = _KEY.search(message)
    condensed = _condensed(message)
    return behind_its_file(condensed, key[1].removeprefix(f"{words[0]}."), words) if key and words else condensed


def require_plain_numbers(words: Sequence[str], settings: Mapping[str, Any]) -> None:
    """Raises ConfigError where a number on the command line was read to the base 8 or 60.

    YAML reads ``1:30`` as 90, ``[010]`` as a list of 8 and ``0_10`` as 8; a plain ``010`` becomes 10.

    Args:
        words: of the command line.
        settings: what they were read as.
    """
    for word, following in pairwise([*words, ""]):
        name, equals, value = word.partition("=")
        value = value if equals else following
        if not name.startswith("--"):
            continue
        has_parts, numbers = numbers_to_old_bases(value)
        read = _setting(name[2:].rstrip("+"), settings) if numbers else None
        if not numbers or isinstance(read, str):
            continue
        (number, base), *_ = numbers
        if has_parts:
            raise ConfigError(f"{name} {value}: {old_base_fault(number, base)}")
        if name.endswith("+") and isinstance(read, list) and read:
            read = read[-1]
        if isinstance(read, int | float) and (base == 60 or read != float(number.replace("_", ""))):
            raise ConfigError(f"{name} {value} is read as {read}, to the base {base}; write {read} if that is meant")


def _setting(name: str, settings: Any) -> Any:
    """The value of a dotted name, in which ``init_args`` may be left out; None where there is none.

    Of a list it is in the last item, to which the parser gives settings of lists.
    """
    for part in name.split("."):
        settings = settings[-1] if isinstance(settings, list) and settings else settings
        found = None if settings is None else _inside(settings, part)
        inner = None if settings is None else _inside(settings, "init_args")
        settings = _inside(inner, part) if found is None and inner is not None else found
    return settings


def _inside(settings: Any, name: str) -> Any:
    return settings.get(name) if hasattr(settings, "get") else None


def behind_its_file(message: str, setting: str, words: Sequence[str]) -> str:
    """A message about a setting behind the path of the config that sets it; as it is where none does."""
    file = _file_of(setting, words)
    return f"{file}: {message}" if file else message


def _condensed(message: str) -> str:
    """The message without what it says of every setting, and with no more of the value than tells which it is."""
    lines = [line.strip().removeprefix("- ") for line in message.splitlines()]
    kept = [_short(line) for line in lines if line and not _BOILERPLATE.match(line)]
    text = "".join(line + (" " if line.endswith(":") else "; ") for line in dict.fromkeys(kept))
    return as_one_line(text.rstrip("; "))


def _short(line: str) -> str:
    for words in ("Given value: ", "Got value: "):
        start, given, value = line.partition(words)
        if given and len(value) > _MOST_OF_A_VALUE:
            return f"{start}{given}{value[:_MOST_OF_A_VALUE]} ..."
    return line


def configs_of(words: Sequence[str]) -> list[str]:
    """Paths of the configs that the words of a command line name."""
    found = [word.partition("=")[2] for word in words if word.startswith(("--config=", "-c="))]
    return found + [value for flag, value in pairwise(words) if flag in ("--config", "-c")]


def _file_of(key: str, words: Sequence[str]) -> str | None:
    """The last config that holds the setting; None where the command line itself does."""
    flags = [word.lstrip("-").partition("=")[0].rstrip("+") for word in words if word.startswith("--")]
    if any(f"{key}.".startswith(f"{flag}.") for flag in flags):
        return None
    return next((path for path in reversed(configs_of(words)) if _holds(path, key)), None)


def _holds(path: str, key: str) -> bool:
    try:
        value: Any = parse_yaml(Path(path).read_text(encoding="utf-8"), path)
    except (ConfigError, OSError, UnicodeDecodeError):
        return False
    for name in key.split("."):
        if not isinstance(value, dict) or name not in {str(field) for field in value}:
            return False
        value = next(inner for field, inner in value.items() if str(field) == name)
    return True
