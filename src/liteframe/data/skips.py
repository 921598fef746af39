"""The list of samples that could not be used: counted, written down with the reason, and bounded."""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path

from liteframe.data.check_rows import one_line
from liteframe.errors import ConfigError, SkipLimitExceeded

_MOST_REASON = 2000


@dataclass(frozen=True)
class Skipped:
    """A sample that is left out: the video file, the id of its manifest row, and why."""

    path: str
    id: str
    reason: str

    def as_dict(self) -> dict[str, str]:
        return {"path": self.path, "id": self.id, "reason": self.reason}


class SkipLedger:
    """`skipped.jsonl` of a run: a line for each row that was skipped, once, whichever process saw it.

    Lines are appended in one write, so several ranks share the file; an existing file counts on resume.

    Args:
        path: the file; made with its folder at the first skip.
        total: rows that there are, the measure of `max_fraction`.
        max_fraction: share of skipped rows above which `record` raises.
        known: ids to count; lines of other ids in the file (of another manifest) are left alone. `None` counts all.

    Raises:
        ConfigError: the file is there and cannot be read.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        total: int,
        max_fraction: float = 0.05,
        known: Container[str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.total = total
        self.max_fraction = max_fraction
        self._known = known
        self._reasons: dict[tuple[str, str], str] = {}
        self._read_to = 0
        self._torn = False
        self._reload()

    @property
    def ids(self) -> list[str]:
        """Ids skipped so far, in the order of the file."""
        return [name for _, name in self._reasons]

    def skipped(self) -> list[Skipped]:
        """Everything skipped so far, by any process."""
        self._reload()
        return [Skipped(path, name, reason) for (path, name), reason in self._reasons.items()]

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
            self._append("".join(_line(skip) for skip in new.values()))
            self._reload()
        for key, skip in new.items():
            self._reasons.setdefault(key, skip.reason)
        self.check()

    def _append(self, lines: str) -> None:
        # Half a character, which UTF-8 has no bytes for, is written as JSON's escape of it.
        data = (("\n" if self._torn else "") + lines).encode(errors="backslashreplace")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                while data:
                    data = data[os.write(descriptor, data) :]
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _unusable(self.path, error) from error

    def check(self) -> None:
        """Raises `SkipLimitExceeded` if skipped rows are more than `max_fraction` of all."""
        count = len(self._reasons)
        if count > self.max_fraction * self.total:
            first = "; ".join(one_line(_named(name, reason)) for (_, name), reason in list(self._reasons.items())[:3])
            raise SkipLimitExceeded(
                f"{self.path}: {count} of {self.total} rows {'was' if count == 1 else 'were'} skipped, more than"
                f" the limit of {self.max_fraction:.1%} (--data.max_skip_fraction): {first}. Repair or remove these"
                " files (`liteframe check` lists them), or raise the limit"
            )

    def _reload(self) -> None:
        """Takes in the complete lines that this or another process has written since the last look."""
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
            try:
                entry = json.loads(line)
                skip = Skipped(entry["path"], entry["id"], entry["reason"])
            except (ValueError, KeyError, TypeError, RecursionError):
                continue  # torn by a kill in mid-write, and closed off by the line after it
            if not all(isinstance(value, str) for value in skip.as_dict().values()):
                continue
            if self._known is None or skip.id in self._known:
                self._reasons.setdefault((skip.path, skip.id), skip.reason)


def _line(skip: Skipped) -> str:
    reason = skip.reason if len(skip.reason) <= _MOST_REASON else skip.reason[:_MOST_REASON] + " ..."
    return json.dumps({**skip.as_dict(), "reason": reason}, ensure_ascii=False) + "\n"


def _unusable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"{path}: the list of skipped videos cannot be kept ({error.strerror or error}); free space, make the run"
        " folder writable, or take another (--trainer.default_root_dir)"
    )


def _named(name: str, reason: str) -> str:
    """The reason behind the row's id, which may be the place that the reason begins with."""
    return reason if reason.startswith(f"{name}: ") else f"{name}: {reason}"
