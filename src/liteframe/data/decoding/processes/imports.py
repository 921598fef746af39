"""Where decode processes import from: as their parent does, but not from whatever folder it was started in.

That folder is often one of videos that somebody else has packed, and Python would prefer an `av.py` or `numpy.py` in it
to the installed packages. Code of the user that lies there is found all the same where a setting names it.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
from collections.abc import Sequence
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

import liteframe


def import_path() -> list[str]:
    """Folders that a decode process imports from: those of this process without the current one.

    The current folder stays where PYTHONPATH names it, or where packages are installed in it.
    """
    here = os.path.realpath(os.curdir)
    named = [] if sys.flags.ignore_environment else os.environ.get("PYTHONPATH", "").split(os.pathsep)
    kept_here = any(
        os.path.realpath(entry) == here for entry in [*filter(None, named), *sysconfig.get_paths().values()]
    )
    path = [
        entry
        for entry in sys.path
        if isinstance(entry, str) and entry and (kept_here or os.path.realpath(entry) != here)
    ]
    own = str(Path(liteframe.__file__).resolve().parents[1])
    return path if own in map(os.path.realpath, path) else [*path, own]


def folders_of(modules: Sequence[str]) -> list[str]:
    """Folders outside of `import_path` in which the user's own modules lie, to be searched last."""
    state = (*(str(entry) for entry in sys.path), os.getcwd(), os.environ.get("PYTHONPATH"))
    return list(_folders_of(tuple(modules), state))


@lru_cache(256)
def _folders_of(modules: tuple[str, ...], state: object) -> tuple[str, ...]:
    """Each job asks, and looking takes longer than decoding a frame; `state` is all that the answer depends on."""
    path = import_path()
    return tuple({folder: None for name in modules if (folder := _folder_of(name.partition(".")[0], path)) is not None})


def _folder_of(package: str, path: list[str]) -> str | None:
    if package == "__main__" or package in sys.builtin_module_names or PathFinder.find_spec(package, path) is not None:
        return None
    spec = _spec_here(package) or PathFinder.find_spec(package, [os.getcwd()])
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return os.path.dirname(os.path.abspath(next(iter(spec.submodule_search_locations))))
    return os.path.dirname(os.path.abspath(spec.origin)) if spec.has_location and spec.origin else None


def _spec_here(package: str) -> ModuleSpec | None:
    """How this process finds a package; None where it does not, and for modules that were made by hand."""
    try:
        return importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
