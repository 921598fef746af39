"""What a process asks of itself at its start."""

from __future__ import annotations

import gc
import sys

import pytest

from liteframe.system.runtime import first_imports


def test_first_imports_are_not_interrupted_and_what_they_made_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with pytest.raises(ImportError), first_imports():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled() and gc.get_freeze_count()
    gc.unfreeze()


def test_a_process_that_has_torch_goes_on_collecting() -> None:
    import torch  # noqa: F401

    before = gc.get_freeze_count()
    with first_imports():
        assert gc.isenabled()
    assert gc.get_freeze_count() == before
