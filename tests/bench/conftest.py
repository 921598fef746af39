from __future__ import annotations

from collections.abc import Callable

import pytest

import made_up_rows
from liteframe.bench.records import RowRecord


@pytest.fixture
def fake_rows() -> Callable[..., list[RowRecord]]:
    return made_up_rows.fake_rows
