"""Help and option names of a stage's parser, remembered: building it imports torch and Lightning, which takes seconds.

What is remembered counts only while every file that was loaded to make it, and every folder that modules are searched
in, is as it was then; else the parser is built, and remembered anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from liteframe.command.parse_errors import configs_of
from liteframe.errors import ConfigError
from liteframe.system.atomic import atomic_write_text
from liteframe.system.bounded_text import parse_yaml
from liteframe.system.user_cache import user_cache

_LOOK = ("FORCE_COLOR", "NO_COLOR", "PYTHON_COLORS", "TERM")
_BESIDE = ("--allow-code",)
"""Taken out of the words before the parser sees them."""
_OF_ANY_CLASS = ("class_path", "dict_kwargs", "help")


@dataclass(frozen=True)
class RememberedParser:
    """What can be said of a verb's words without its parser.

    Attributes:
        help: the text of `--help`.
        options: names that the verb knows, without dashes.
        settings: of each class for `model` or `data`, by its name, those that it knows.
    """

    help: str
    options: list[str]
    settings: dict[str, list[str]]

    def fault(self, words: Sequence[str]) -> str | None:
        """What is wrong with the words of a command line, as the parser would say it; None if that needs the parser."""
        if "--" in words:
            return None
        unknown: list[str] = []
        follows = False
        for word in words:
            name = word[2:].partition("=")[0].rstrip("+")
            if word.startswith("-"):
                follows = word.startswith("--") and word not in _BESIDE and not _may_know(self.options, name)
            if follows:
                unknown.append(word)
        if unknown:
            return f"unrecognized arguments: {' '.join(unknown)}"
        return next(filter(None, (self._fault_of_class(key, words) for key in ("model", "data"))), None)

    def _fault_of_class(self, key: str, words: Sequence[str]) -> str | None:
        named = [word[2:].partition("=")[0].rstrip("+") for word in words if word.startswith(f"--{key}")]
        if {key, f"{key}.class_path"} & {*named} or (path := _class_path(key, words)) is None:
            return None
        settings = self.settings.get(path.rpartition(".")[2])
        if settings is None or ("." in path and not path.startswith("liteframe.")):
            return None
        for name in (name.removeprefix(f"{key}.").removeprefix("init_args.") for name in named):
            if name.partition(".")[0] not in _OF_ANY_CLASS and not _may_know(settings, name):
                return f'Parser key "{key}": Problem with given class_path {path!r}: Option {name!r} is not accepted'
        return None


def _may_know(options: Iterable[str], name: str) -> bool:
    """Whether a name is an option, the beginning of one, or a field of one that takes more than its listed fields."""
    if any(option.startswith(name) for option in options):
        return True
    parent = name.rpartition(".")[0]
    while parent and parent not in options:
        parent = parent.rpartition(".")[0]
    fields = (option for option in options if option.startswith(f"{parent}.") and not option.endswith(".help"))
    return bool(parent) and next(fields, None) is None


def _class_path(key: str, words: Sequence[str]) -> str | None:
    """The class that the last of the configs names for `model` or `data`; None if none does or it cannot be said."""
    path = None
    for config in configs_of(words):
        try:
            content: Any = parse_yaml(Path(config).read_text(encoding="utf-8"), config)
        except (ConfigError, OSError, UnicodeDecodeError):
            return None
        value = content.get(key) if isinstance(content, dict) else None
        value = value.get("class_path") if isinstance(value, dict) else value
        path = value if isinstance(value, str) else path
    return path


def recall(verb: str) -> RememberedParser | None:
    """What is remembered of a verb; None if nothing is, or something has changed since."""
    try:
        content = json.loads(_place(verb).read_bytes())
        if content["made_by"] == _made_by() and all(_state(path) == state for path, state in content["files"].items()):
            return RememberedParser(**content["parser"])
    except (AttributeError, KeyError, OSError, TypeError, ValueError):
        pass  # not there, or not of this version
    return None


def remember(verb: str, help_text: str, options: Iterable[str], settings: Mapping[str, Iterable[str]]) -> None:
    """Keeps what a parser says for the next process; where that cannot be written, it is built there again.

    Args:
        verb: of the parser.
        help_text: of `--help`.
        options: as they are written, `--trainer.max_steps`.
        settings: of each class by its name, in the same way.
    """
    parser = RememberedParser(help_text, _names(options), {name: _names(each) for name, each in settings.items()})
    loaded = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    files = {path: _state(path) for path in sorted({*filter(None, loaded), *sys.path})}
    with suppress(OSError):
        place = _place(verb)
        place.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(place, json.dumps({"made_by": _made_by(), "files": files, "parser": asdict(parser)}))


def _names(options: Iterable[str]) -> list[str]:
    return sorted({option[2:].rstrip("+") for option in options if option.startswith("--")})


def _place(verb: str) -> Path:
    installation = hashlib.sha256(f"{sys.prefix}\n{__file__}".encode()).hexdigest()[:12]
    return user_cache("parsers") / f"{verb}-{installation}.json"


def _made_by() -> list[Any]:
    """The interpreter, where it looks for modules, what it was started with, and how wide and coloured help is."""
    main = getattr(sys.modules["__main__"], "__file__", None)
    look = [os.environ.get(name) for name in _LOOK]
    return [sys.version, sys.path, main, shutil.get_terminal_size().columns, sys.stdout.isatty(), look]


def _state(path: str) -> list[int] | None:
    """Time of change and size of a file, time of change of a folder; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return [found.st_mtime_ns, 0 if os.path.isdir(path) else found.st_size]
