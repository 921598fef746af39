from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import made_up_cells


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Where the records of cells go, as in the repository."""
    return tmp_path / "benchmarks" / "records" / "paper"


@pytest.fixture
def fill() -> Callable[..., None]:
    return made_up_cells.fill
