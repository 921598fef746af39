"""What a request is told that is not answered."""

from __future__ import annotations

from typing import Any

_TYPES = {401: "authentication_error", 404: "not_found_error", 503: "overloaded_error"}


class Refusal(Exception):
    """A request is not answered.

    Args:
        status: of HTTP.
        message: why, and what to do.
        param: field of the request that it is about.
        retry_after_s: seconds after which to ask again.
    """

    def __init__(self, status: int, message: str, param: str | None = None, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.retry_after_s = status, message, param, retry_after_s

    def body(self) -> dict[str, Any]:
        """As OpenAI's API writes errors."""
        kind = _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.status}}


def stopping() -> Refusal:
    """What those are told whose answers are under way when the server ends."""
    return Refusal(503, "the server stops")
