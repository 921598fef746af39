"""Finds config files by name: one in reach first, else the one shipped with liteframe."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from liteframe.errors import ConfigError
from liteframe.system.bounded_text import parse_yaml
from liteframe.system.user_path import user_path

_FLAGS = ("--config", "-c")


def shipped_configs() -> Path:
    """The folder of configs that came with liteframe: inside the package in a wheel, beside ``src`` in a checkout.

    Raises:
        ConfigError: if the installation carries none.
    """
    package = Path(str(files("liteframe")))
    for folder in (package / "configs", package.parents[1] / "configs"):
        if folder.is_dir():
            return folder
    raise ConfigError(f"{package}: this installation has no configs folder; install liteframe again")


def find_config(name: str | Path) -> Path:
    """The file that ``name`` stands for, as an absolute path.

    A file of that name (absolute or from the current folder) comes first, then ``name`` in the shipped configs; each
    also with ``.yaml`` added.

    Raises:
        ConfigError: if there is none; the message lists names near to it.
    """
    shipped = shipped_configs()
    for base in (user_path(str(name)), os.path.join(shipped, name)):
        for candidate in (base, f"{base}.yaml"):
            if os.path.isfile(candidate):  # False too for what is no name at all
                return Path(candidate).resolve()
    if os.path.isdir(user_path(str(name))):
        raise ConfigError(f"config {name}: is a folder; give a file in it")
    raise ConfigError(f"config {name}: not here, and none is shipped under that name; {_near_names(name, shipped)}")


def _near_names(name: str | Path, shipped: Path) -> str:
    known = sorted(path.relative_to(shipped).as_posix() for path in shipped.rglob("*.yaml"))
    wanted = Path(name).stem
    stems = difflib.get_close_matches(wanted, {Path(path).stem for path in known}, n=3, cutoff=0.6)
    near = [path for path in known if Path(path).stem in stems]
    return f"did you mean {' or '.join(near)}?" if near else f"shipped are: {', '.join(known) or 'none'}"


def resolve_config_args(args: Sequence[str]) -> list[str]:
    """A copy of command line ``args`` in which the value of each ``--config`` is the path of the file it stands for.

    Addresses with a scheme (``s3://...``) stay as they are.

    Raises:
        ConfigError: a file that is not found, or is not YAML.
    """
    resolved: list[str] = []
    expects_name = False
    for arg in args:
        flag, equals, value = arg.partition("=")
        if expects_name:
            resolved.append(checked_config(arg))
            expects_name = False
        elif flag in _FLAGS and equals:
            resolved.append(f"{flag}={checked_config(value)}")
        else:
            expects_name = arg in _FLAGS
            resolved.append(arg)
    return resolved


def checked_config(name: str) -> str:
    """The path of the file that a name stands for; a URL stays as it is.

    Raises:
        ConfigError: there is none, or it is not YAML of settings.
    """
    if "://" in name:
        return name
    path = find_config(name)
    _check_yaml(path)
    return str(path)


def _check_yaml(path: Path) -> None:
    """Raises ConfigError where a file is not YAML or no mapping; the parser of the command would not name the file."""
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    if content is None:
        raise ConfigError(f"{path}: holds no settings; write some, or leave --config {path.name} out")
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: holds a {type(content).__name__}; a config is a mapping such as `model: ...`")
    if odd := [key for key in content if not isinstance(key, str)]:
        raise ConfigError(f"{path}: {odd[0]!r} is no name of a setting; correct it")
