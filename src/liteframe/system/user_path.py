"""Paths as users write them: `~` for a home folder and `$SCRATCH` for a variable, expanded here and nowhere else."""

from __future__ import annotations

import argparse
import os
import re
from typing import Any

from liteframe.errors import ConfigError

_OTHER_USER = re.compile(r"~[A-Za-z_][\w.-]*(?=/|$)", re.ASCII)
_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})(?=/|$)", re.ASCII)


def user_path(text: str, setting: str = "") -> str:
    """`text` with a home folder or a variable at its start written out, as a shell would; anything else as it is.

    A variable counts only where an absolute path is in it, so that a config cannot make part of a name, or of an
    address, out of whatever else the environment holds. To name a file called `~x`, write `./~x`.

    Args:
        text: a path, URL or hub id.
        setting: that it is given as, for the message.

    Raises:
        ConfigError: the variable is not set, or there is no home folder.
    """
    if text.startswith("~"):
        return in_home(text, setting)
    variable = _VARIABLE.match(text)
    if variable is None:
        return text
    value = os.environ.get(variable[1] or variable[2])
    if value is None and not os.path.lexists(text.partition("/")[0]):
        raise ConfigError(f"{_named(setting)}{text}: {variable[0]} is not set; set it, or write the path out")
    return value.rstrip("/") + text[variable.end() :] if value and os.path.isabs(value) else text


def in_home(text: str, setting: str = "") -> str:
    """`text` with `~` or `~user` at its start written out; arguments and errors are those of `user_path`."""
    path = os.path.expanduser(text)
    if path == text and text.partition("/")[0] == "~":
        raise ConfigError(f"{_named(setting)}{text}: this machine knows no home folder (HOME); write the path out")
    return path


def _named(setting: str) -> str:
    return f"{setting} " if setting else ""


def with_user_paths(value: Any, setting: str = "") -> Any:
    """A parsed config, or a part of it, with `user_path` of each text in it; mappings and lists are changed in place.

    Args:
        value: as the parser gives it.
        setting: dotted name of `value`.

    Raises:
        ConfigError: as of `user_path`, and of `~user` where there is no such user and nothing of that name.
    """
    if isinstance(value, str):
        path = user_path(value, setting)
        unknown = _OTHER_USER.match(path)
        if unknown is not None and not os.path.lexists(unknown[0]):
            raise ConfigError(
                f"{_named(setting)}{value}: no user {unknown[0][1:]}; correct it, or write ./{unknown[0]} for a name"
            )
        return path
    if isinstance(value, tuple):
        return tuple(with_user_paths(item, setting) for item in value)
    if isinstance(value, list):
        value[:] = [with_user_paths(item, setting) for item in value]
        return value
    fields = vars(value) if isinstance(value, argparse.Namespace) else value
    if isinstance(fields, dict):
        for name, item in fields.items():
            fields[name] = with_user_paths(item, f"{setting}.{name}" if setting else str(name))
    return value
