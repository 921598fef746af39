"""Work that is cancelled from another thread."""

from __future__ import annotations

import threading

import pytest

from liteframe.system.cancellation import Cancellation, Cancelled


def test_work_that_waits_is_ended_and_says_why() -> None:
    cancellation, end, waits = Cancellation(), threading.Event(), threading.Event()
    raised: list[BaseException] = []

    def work() -> None:
        try:
            with cancellation.ending(end.set):
                waits.set()
                assert end.wait(60)
                raise ValueError("its pipe is closed")
        except Cancelled as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert waits.wait(60) and not cancellation.is_set
    cancellation.check()
    cancellation.cancel()
    thread.join(60)
    assert isinstance(raised[0].__cause__, ValueError)
    with pytest.raises(Cancelled):
        cancellation.check()


def test_what_fails_by_itself_stays_what_it_is_and_work_that_is_done_is_not_ended() -> None:
    cancellation, ended = Cancellation(), []
    with pytest.raises(ValueError, match="broken"), cancellation.ending(lambda: ended.append("failed")):
        raise ValueError("broken")
    with cancellation.ending(lambda: ended.append("done")):
        pass
    cancellation.cancel()
    assert not ended
    with pytest.raises(Cancelled), cancellation.ending(lambda: ended.append("late")):
        raise AssertionError("it is not begun")
