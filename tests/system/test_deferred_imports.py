"""What others name and do not need is loaded when it is used, as the module that it is."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import sys
from liteframe.system.deferred_imports import deferred_imports
with deferred_imports():
    import inspect
    from scipy.optimize import linear_sum_assignment
    inspect.getmodule(inspect.currentframe())  # looks through all modules
    assert "scipy.optimize._optimize" not in sys.modules
    {inside}
import scipy.optimize
assert list(linear_sum_assignment([[1, 0], [0, 1]])[1]) == [1, 0]
assert scipy.optimize.linear_sum_assignment is not linear_sum_assignment
assert callable(scipy.optimize.minimize) and sys.modules["scipy.optimize"].__file__
"""


def run(inside: str) -> None:
    subprocess.run([sys.executable, "-c", _PROGRAM.format(inside=inside)], check=True, timeout=120)


def test_the_module_itself_comes_afterwards() -> None:
    run("pass")


def test_another_name_loads_the_module() -> None:
    run("from scipy.optimize import minimize; assert 'scipy.optimize._optimize' in sys.modules")


def test_what_is_loaded_stays() -> None:
    run("import importlib; sys.modules.pop('scipy.optimize'); importlib.import_module('scipy.optimize')")
