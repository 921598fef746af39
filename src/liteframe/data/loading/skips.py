"""The list of samples that could not be used: counted, written down with the reason, and bounded."""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liteframe.errors import ConfigError, SkipLimitExceeded
from liteframe.system.atomic import atomic_open
from liteframe.system.printable import printable

_MOST_REASON = 2000
_EARLIER = "skipped-earlier.jsonl"
_FIT = "fit"


@dataclass(frozen=True)
class Skipped:
    """A sample that is left out: the video file, the id of its manifest row, and why."""

    path: str
    id: str
    reason: str

    def as_dict(self) -> dict[str, str]:
        return {"path": self.path, "id": self.id, "reason": self.reason}


def set_aside(path: str | os.PathLike[str], verb: str) -> bytes:
    """Moves what earlier runs of a verb listed to `skipped-earlier.jsonl`, and returns it for `SkipLedger.go_on`.

    Lines of other verbs stay, because their run may go on. A line that names no verb counts as one of `fit`.

    Raises:
        ConfigError: the file cannot be read or written.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        earlier = b"".join(line.rstrip(b"\n") + b"\n" for line in lines if _verb_of(_entry(line)) == verb)
        if earlier:
            _append_to(path.with_name(_EARLIER), earlier)
            with atomic_open(path) as file:
                file.write(b"".join(line for line in lines if _verb_of(_entry(line)) != verb))
        return earlier
    except OSError as error:
        raise _unusable(path, error) from error


class SkipLedger:
    """`skipped.jsonl` of a run: a line for each row that was skipped, once, whichever process saw it.

    Lines are appended in one write, so several ranks share the file. What is in it already counts. A run of its own
    calls `set_aside` before, and `go_on` if it turns out to go on with the run whose list that was.

    Args:
        path: the file; made with its folder at the first skip.
        total: rows that there are, the measure of `max_fraction`.
        max_fraction: share of skipped rows above which `record` raises.
        known: ids to count; lines of other ids in the file (of another manifest) are left alone. `None` counts all.
        verb: fit, validate, test or predict, written in each line; those of other verbs are left alone. `None` counts
            all.
        keep: False for a trial that writes nothing: it only counts, and only its own.

    Raises:
        ConfigError: the file is there and cannot be read.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        total: int,
        max_fraction: float = 0.05,
        known: Container[str] | None = None,
        verb: str | None = None,
        keep: bool = True,
    ) -> None:
        self.path = Path(path)
        self.total = total
        self.max_fraction = max_fraction
        self._known, self._verb, self._keep = known, verb, keep
        self._reasons: dict[tuple[str, str], str] = {}
        self._read_to = 0
        self._torn = False
        self._before: set[tuple[str, str]] = set()
        self._reload()

    @property
    def ids(self) -> list[str]:
        """Ids skipped so far, in the order of the file."""
        return [name for _, name in self._reasons]

    def skipped(self) -> list[Skipped]:
        """Everything skipped so far, by any process."""
        self._reload()
        return [Skipped(path, name, reason) for (path, name), reason in self._reasons.items()]

    def count(self) -> int:
        """How many are skipped so far, by any process."""
        self._reload()
        return len(self._reasons)

    def record(self, path: str, id: str, reason: str) -> None:
        """Writes a skip down, if its id is new.

        Raises:
            SkipLimitExceeded: skipped rows are more than `max_fraction` of all.
            ConfigError: the file cannot be written.
        """
        self.expect([Skipped(path, id, reason)])

    def expect(self, skips: Iterable[Skipped], write: bool = True) -> None:
        """Counts skips, and writes those down that are new; errors are those of `record`.

        Args:
            skips: what is skipped.
            write: False where another process writes them.
        """
        self._reload()
        new = {(skip.path, skip.id): skip for skip in skips if (skip.path, skip.id) not in self._reasons}
        if write and new:
            self._append(b"".join(_line(skip, self._verb) for skip in new.values()))
            self._reload()
        for key, skip in new.items():
            self._reasons.setdefault(key, skip.reason)
        self.check()

    def go_on(self, earlier: bytes, write: bool = True) -> None:
        """Takes a list that was set aside up again: its rows count until one is read after all, see `was_read`.

        Args:
            earlier: what `set_aside` returned.
            write: False where another process writes.

        Raises:
            ConfigError: the file cannot be written.
        """
        entries = [(line, entry) for line in earlier.splitlines(keepends=True) if (entry := _entry(line)) is not None]
        entries = [(line, entry) for line, entry in entries if (entry["path"], entry["id"]) not in self._reasons]
        if write and earlier:
            self._append(b"".join(line for line, _ in entries))
            _take_back(self.path.with_name(_EARLIER), len(earlier))
        for _, entry in entries:
            self._take(entry)
        self._before = {(entry["path"], entry["id"]) for _, entry in entries}

    def was_read(self, path: str, id: str) -> None:
        """Takes a row that an earlier part of this run listed from the list, because it could be read now.

        A line without a reason says so in the file.

        Raises:
            ConfigError: the file cannot be written.
        """
        if (path, id) not in self._before:
            return
        self._before.discard((path, id))
        self._reload()
        if self._reasons.pop((path, id), None) is not None:
            self._append(_line(Skipped(path, id, ""), self._verb))

    def _append(self, lines: bytes) -> None:
        if not self._keep:
            return
        try:
            _append_to(self.path, b"\n" * self._torn + lines)
        except OSError as error:
            raise _unusable(self.path, error) from error

    def check(self) -> None:
        """Raises `SkipLimitExceeded` if skipped rows are more than `max_fraction` of all."""
        count = len(self._reasons)
        if count > self.max_fraction * self.total:
            first = "; ".join(printable(_named(name, reason)) for (_, name), reason in list(self._reasons.items())[:3])
            raise SkipLimitExceeded(
                f"{self.path}: {count} of {self.total} rows {'was' if count == 1 else 'were'} skipped, more than"
                f" the limit of {self.max_fraction:.1%} (--data.max_skip_fraction): {first}. Repair or remove these"
                " files (`liteframe check` lists them), or raise the limit"
            )

    def _reload(self) -> None:
        """Takes in the complete lines that this or another process has written since the last look."""
        if not self._keep:
            return
        try:
            with self.path.open("rb") as file:
                file.seek(self._read_to)
                new = file.read()
        except FileNotFoundError:
            return
        except OSError as error:
            raise _unusable(self.path, error) from error
        whole = new[: new.rfind(b"\n") + 1]
        self._read_to += len(whole)
        self._torn = len(whole) < len(new)
        for line in whole.splitlines():
            entry = _entry(line)
            if entry is None or (self._verb is not None and _verb_of(entry) != self._verb):
                continue
            self._take(entry)

    def _take(self, entry: dict[str, Any]) -> None:
        key = entry["path"], entry["id"]
        if not entry["reason"]:
            self._reasons.pop(key, None)
        elif self._known is None or entry["id"] in self._known:
            self._reasons.setdefault(key, entry["reason"])


def _entry(line: bytes) -> dict[str, Any] | None:
    """The skip in a line; None where it is another's, or was torn by a kill in mid-write and closed off by the next."""
    try:
        entry = json.loads(line)
        whole = all(isinstance(entry[name], str) for name in ("path", "id", "reason"))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return entry if whole else None


def _verb_of(entry: dict[str, Any] | None) -> Any:
    return None if entry is None else entry.get("verb", _FIT)


def _append_to(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    finally:
        os.close(descriptor)


def _take_back(path: Path, count: int) -> None:
    """Cuts the last bytes off a file."""
    try:
        size = path.stat().st_size
        os.truncate(path, size - count)
        if size == count:
            path.unlink()
    except OSError as error:
        raise _unusable(path, error) from error


def _line(skip: Skipped, verb: str | None) -> bytes:
    reason = skip.reason if len(skip.reason) <= _MOST_REASON else skip.reason[:_MOST_REASON] + " ..."
    entry = {**skip.as_dict(), "reason": reason} | ({} if verb is None else {"verb": verb})
    # Half a character, which UTF-8 has no bytes for, is written as JSON's escape of it.
    return (json.dumps(entry, ensure_ascii=False) + "\n").encode(errors="backslashreplace")


def _unusable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"{path}: the list of skipped videos cannot be kept ({error.strerror or error}); free space, make the run"
        " folder writable, or take another (--trainer.default_root_dir)"
    )


def _named(name: str, reason: str) -> str:
    """The reason behind the row's id, which may be the place that the reason begins with."""
    return reason if reason.startswith(f"{name}: ") else f"{name}: {reason}"
