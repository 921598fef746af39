"""Which errors of the backends are asked about again, and when."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from liteframe.data.remote.faults import BadBody, in_words, is_refusal, retry_after_s, status_of


class Fault(Exception):
    def __init__(self, **attributes: Any) -> None:
        super().__init__("fault")
        self.__dict__.update(attributes)


class RedirectClientError(Exception):
    """As aiohttp's, for a redirect to `file://`."""


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "status", "refused"),
    [
        *[(Fault(status=status), status, True) for status in (400, 401, 403, 404, 410, 416, 451)],
        *[(Fault(status=status), status, False) for status in (408, 425, 429, 500, 502, 503, 504)],
        (Fault(code=403), 403, True),
        (Fault(response=SimpleNamespace(status_code=404)), 404, True),
        (Fault(response={"ResponseMetadata": {"HTTPStatusCode": 503}}), 503, False),
        (caused(FileNotFoundError("x"), Fault(status=503)), 503, False),
        (caused(FileNotFoundError("x"), Fault(status=410)), 410, True),
        (FileNotFoundError("x"), None, True),
        (PermissionError("x"), None, True),
        (ValueError("Can redirect only to http or https"), None, True),
        (RedirectClientError("file:///etc/passwd"), None, True),
        (ConnectionResetError("x"), None, False),
        (TimeoutError("x"), None, False),
        (BadBody("x"), None, False),
    ],
)
def test_what_is_asked_again(error: Exception, status: int | None, refused: bool) -> None:
    assert (status_of(error), is_refusal(error)) == (status, refused)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "17"}, 17.0),
        ({"retry-after": " 0 "}, 0.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT"}, 30.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:27:00 GMT"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "9" * 400}, None),
        ({"Retry-After": "Wed, 99 Oct 99999 07:28:30 GMT"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds_and_as_date(headers: Any, seconds: float | None) -> None:
    now = 1445412480.0  # Wed, 21 Oct 2015 07:28:00 GMT
    assert retry_after_s(Fault(headers=headers), now) == seconds
    assert retry_after_s(caused(OSError("x"), Fault(headers=headers)), now) == seconds
    assert retry_after_s(Fault(response=SimpleNamespace(headers=headers)), now) == seconds


def test_errors_are_told_in_one_line() -> None:
    assert in_words(Fault(status=429, message="Too\nmany")) == "429 Too many"
    assert in_words(caused(OSError("x"), TimeoutError("slow\r\nserver"))) == "TimeoutError: slow server"
    assert len(in_words(OSError("x" * 5000))) == 300
