"""What can come of an input, and which of it an exception is."""

from __future__ import annotations

import random
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from liteframe.errors import LiteFrameError

GOOD = {
    "right": "the truth: as of the undamaged input, or as the changed input says",
    "named": "a LiteFrameError that names the file",
    "undetectable": "damage without a checksum in the file: another plain reader gives the same values without a word",
}
BAD = {
    "silent": "a result that differs from the truth, without an error",
    "code": "the input ran or imported code, or opened a network connection",
    "escape": "the input had a file outside of its folder read",
    "deleted": "a file outside of the input's folder is gone, changed or new",
    "hang": "no answer before the deadline, twice",
    "crash": "the process that was asked died",
    "memory": "memory ran out, or grew beyond the limit",
    "unnamed": "another exception, or one that names no file",
    "refused": "an undamaged input gave an error",
}
OUTCOMES = [*GOOD, *BAD]
_TEXT = 400


@dataclass
class Verdict:
    """An outcome; `where` is the line of liteframe that an exception came through last."""

    outcome: str
    detail: str = ""
    where: str = ""


@dataclass
class Input:
    """One input on disk.

    Attributes:
        what: which seed, and what was done to it.
        path: what is given to liteframe; a text where it is an address.
        data: what the judge needs to know.
        intact: nothing was changed.
        refuse: outcome where liteframe accepts what it must refuse; None where it may accept.
    """

    what: str
    path: Any
    data: Any = field(default_factory=dict)
    intact: bool = False
    refuse: str | None = None


class Kind(Protocol):
    """A kind of inputs: `prepare` writes seeds once, `make` writes an input into an empty folder, `feed` tries it.

    Attributes:
        share: of the inputs of a run.
        deadline_s: seconds for one input.
        names: hostile words to put into inputs, set by the ground that they are fed on.
    """

    share: int
    deadline_s: float
    names: list[Any]

    def __init__(self, seeds: Path) -> None: ...
    def prepare(self) -> None: ...
    def make(self, rng: random.Random, folder: Path) -> Input: ...
    def feed(self, item: Input) -> Verdict: ...


def judge(kind: Kind, item: Input) -> Verdict:
    """What comes of feeding an input."""
    try:
        verdict = kind.feed(item)
    except Exception as error:
        verdict = of_error(error, item)
    if verdict.outcome in ("right", "undetectable") and item.refuse is not None:
        return Verdict(item.refuse, f"accepted, but must not be; {verdict.detail}")
    if item.intact and verdict.outcome == "named":
        return Verdict("refused", verdict.detail, verdict.where)
    return verdict


def of_error(error: BaseException, item: Input) -> Verdict:
    """The outcome that an exception is."""
    where = _where(error)
    text = f"{type(error).__name__}: {error}"[:_TEXT]
    if isinstance(error, MemoryError) or "not enough memory" in text or "alloc_cpu" in text:
        return Verdict("memory", text, where)
    if not isinstance(error, LiteFrameError):
        return Verdict("unnamed", text, where)
    if not any(name in str(error) for name in _names(item)):
        return Verdict("unnamed", f"names no file: {text}", where)
    return Verdict("named", text, where)


def _names(item: Input) -> list[str]:
    if isinstance(item.path, str):
        return [item.path]  # an address
    inside = [path.name for path in item.path.rglob("*")] if item.path.is_dir() else []
    return [str(item.path), item.path.name, *inside, *(path.name for path in item.path.parent.glob("*.*"))]


def _where(error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/liteframe/" in f.filename]
    return f"{frames[-1].filename.rpartition('/liteframe/')[2]}:{frames[-1].lineno}" if frames else ""
