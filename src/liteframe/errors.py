"""Every error that liteframe raises on purpose, so that callers can catch one family."""

from __future__ import annotations

import re

_BREAK = re.compile(r"\s*\n\s*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class LiteFrameError(Exception):
    """Base of all errors that name what is wrong and what to do about it."""


class ConfigError(LiteFrameError):
    """A setting, a config file, or a folder it points to cannot be used."""


class GeometryError(LiteFrameError, ValueError):
    """A frame or grid size that the model cannot take; the message names the nearest legal ones."""


class DataError(LiteFrameError):
    """Something is wrong with the data a stage was given."""


class ManifestError(DataError):
    """A manifest row cannot be read; the message names file, line and field."""


class DecodeError(DataError):
    """A video cannot be decoded.

    Attributes:
        path: the video file.
        reason: why, in one line.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class DecodeTimeout(DecodeError):
    """Decoding made no progress for its deadline, or took too long for the size of its file, and was killed."""


class SkipLimitExceeded(DataError):
    """More samples were skipped than the setting allows."""


class CheckpointError(LiteFrameError):
    """A training checkpoint cannot be written, is damaged, or must not be read."""


class DivergedError(LiteFrameError):
    """Training went to values that are not finite; the message names the step and what did so first."""


class RankError(LiteFrameError):
    """Another rank of a distributed run froze, died or failed."""


class StoreError(LiteFrameError):
    """A feature store is missing, incomplete or damaged."""


class StoreMismatch(StoreError):
    """A feature store was made under other settings; the message names the field that differs."""


def as_one_line(text: str) -> str:
    """`text` on one line, with control characters, which would repaint a terminal, as their escapes."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", _BREAK.sub(" ", text.strip()))
