"""Errors of other libraries over files that nobody vouches for, with a name and in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from liteframe.errors import ConfigError, LiteFrameError

_MOST_CHARACTERS = 400
_PANIC = "PanicException"
"""Of libraries in Rust, such as tokenizers; it is no Exception, and cannot be imported."""


@contextmanager
def named_errors(what: str, advice: str) -> Iterator[None]:
    """Makes a ConfigError of whatever is raised inside; errors of ours, and of a GPU without memory, stay.

    Args:
        what: file or folder, and what cannot be done with it.
        advice: what to do.
    """
    try:
        yield
    except (LiteFrameError, torch.OutOfMemoryError):
        raise
    except BaseException as error:  # these libraries raise whatever Python does with a value that they did not expect
        if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
            raise
        raise ConfigError(f"{what} ({one_line(error)}); {advice}") from error


def one_line(error: BaseException) -> str:
    """Kind and text of an error, cut where it goes on for long."""
    text = " ".join(str(error).split())
    text = text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + "..."
    kind = type(error).__name__
    return text if text and isinstance(error, OSError) else f"{kind}: {text}" if text else kind
