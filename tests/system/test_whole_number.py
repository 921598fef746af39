from __future__ import annotations

import pytest

from liteframe.data.decoding.processes.reader_threads import threads_for
from liteframe.planning.build import device_count
from liteframe.system.whole_number import whole_number


def test_digits_are_a_number_and_nothing_else_is() -> None:
    assert [whole_number(text) for text in ("0", " 12\n", "007", "9" * 18, "٣")] == [0, 12, 7, 10**18 - 1, 3]
    for text in ("", " ", "-1", "+1", "1.0", "1_0", "1 2", "²", "0x1", "nan", "9" * 19, "9" * 5000):
        assert whole_number(text) is None, text


@pytest.mark.parametrize("text", ["9" * 5000, "²", "--2", ""])
def test_settings_and_surroundings_that_are_no_number_count_as_one(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_count(text) == 1 == device_count(-1)
    assert device_count("4") == device_count(4) == 4
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    alone = threads_for(1)
    monkeypatch.setenv("WORLD_SIZE", text)
    assert threads_for(1) == alone
