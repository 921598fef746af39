"""Modules that others import for one name and do not need for what is done here: they are loaded when it is used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

NAMES = {
    "scipy.optimize": "linear_sum_assignment",
}
"""Of transformers, for the losses of detectors."""


@contextmanager
def deferred_imports() -> Iterator[None]:
    """Has what is imported inside make do with stand-ins for those of `NAMES` that are not loaded yet.

    A stand-in has the one name, a function that calls the real one; whatever else is asked of it comes from the module
    itself, which is then loaded. Afterwards imports find the modules themselves.
    """
    stand_ins = {module: _stand_in(module, name) for module, name in NAMES.items() if module not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for module, stand_in in stand_ins.items():
            if sys.modules.get(module) is stand_in:
                del sys.modules[module]


def _stand_in(module: str, name: str) -> ModuleType:
    stand_in = ModuleType(module)
    stand_in.__spec__ = ModuleSpec(module, None)

    def real() -> ModuleType:
        if sys.modules.get(module) is stand_in:
            del sys.modules[module]
        return importlib.import_module(module)

    def other(asked: str) -> Any:
        if asked.startswith("__"):  # as who looks through all modules does, for their files
            raise AttributeError(f"module {module!r} has no attribute {asked!r}")
        return getattr(real(), asked)

    attributes: dict[str, Callable[..., Any]] = {
        name: lambda *given, **named: getattr(real(), name)(*given, **named),
        "__getattr__": other,
    }
    stand_in.__dict__.update(attributes)
    return stand_in
