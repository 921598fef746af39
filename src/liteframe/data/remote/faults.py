"""What went wrong while fetching: whether to ask again, and when."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from typing import Any

_ASK_AGAIN = (408, 425, 429)


class BadBody(OSError):
    """What came is not the whole file, or no video at all."""


def is_refusal(error: Exception) -> bool:
    """Whether asking again is of no use: there is no such file, no permission to read it, no such address."""
    status = status_of(error)
    if status is not None:
        return 400 <= status < 500 and status not in _ASK_AGAIN
    # A ValueError is an address that cannot be, given or led to.
    return _leads_elsewhere(error) or isinstance(
        error, FileNotFoundError | PermissionError | IsADirectoryError | ValueError
    )


def _leads_elsewhere(error: Exception) -> bool:
    return any(kind.__name__ in ("RedirectClientError", "TooManyRedirects") for kind in type(error).__mro__)


def status_of(error: BaseException) -> int | None:
    """The HTTP status that a backend's error is about, wherever it has it."""
    response = _response(error)
    for found in (
        getattr(error, "status", None),
        None if _is_of_aiohttp(error) else getattr(error, "code", None),
        getattr(response, "status_code", None),
        _botocore(response),
    ):
        if isinstance(found, int) and 100 <= found < 600:
            return found
    return status_of(error.__cause__) if error.__cause__ is not None else None


def _is_of_aiohttp(error: BaseException) -> bool:
    """Its `code` is no status: a body that was cut short has one of 400."""
    return type(error).__module__.startswith("aiohttp.")


def _response(error: BaseException) -> Any:
    return getattr(error, "response", None)


def _botocore(response: Any) -> Any:
    about = response.get("ResponseMetadata") if isinstance(response, Mapping) else None
    return about.get("HTTPStatusCode") if isinstance(about, Mapping) else None


def retry_after_s(error: BaseException, now: float | None = None) -> float | None:
    """Seconds that the server asks to wait before the next try (`Retry-After`, a number or a date), if it does.

    Args:
        error: a backend's.
        now: seconds since 1970, for dates; by default this moment.
    """
    headers = getattr(error, "headers", None) or getattr(_response(error), "headers", None)
    if not isinstance(headers, Mapping):
        return retry_after_s(error.__cause__, now) if error.__cause__ is not None else None
    text = next((str(value).strip() for name, value in headers.items() if str(name).lower() == "retry-after"), "")
    if text.isdecimal() and len(text) < 10:
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
    return max(0.0, moment - (time.time() if now is None else now))


def in_words(error: BaseException) -> str:
    """One line about an error of a backend."""
    cause = error.__cause__ or error
    status = status_of(error)
    if isinstance(cause, BadBody):
        return str(cause)
    if isinstance(error, FileNotFoundError) and status is None:
        return "404, no such file there (FileNotFoundError)"
    reason = getattr(cause, "message", "") or str(cause)
    said = f"{status} {reason}" if status is not None else f"{type(cause).__name__}: {reason}"
    return " ".join(said.split())[:300]
