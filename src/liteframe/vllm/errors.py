"""liteframe's errors as those that vLLM's server answers a request with, in place of an internal one of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vllm.exceptions import VLLMUnprocessableEntityError, VLLMValidationError

from liteframe.errors import DecodeError, LiteFrameError


@contextmanager
def request_errors() -> Iterator[None]:
    """Raises VLLMUnprocessableEntityError for a video that cannot be read, VLLMValidationError for what is asked."""
    try:
        yield
    except DecodeError as error:
        raise VLLMUnprocessableEntityError(f"the video cannot be used: {error.reason}") from error
    except LiteFrameError as error:
        raise VLLMValidationError(str(error)) from error
