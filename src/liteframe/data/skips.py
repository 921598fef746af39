"""The list of samples that could not be used: counted, written down with the reason, and bounded."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from liteframe.errors import SkipLimitExceeded


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

    Lines are appended in one write each, so several ranks share the file; an existing file counts on resume.

    Args:
        path: the file; made with its folder at the first skip.
        total: rows that there are, the measure of `max_fraction`.
        max_fraction: share of skipped rows above which `record` raises.
        known: ids to count; lines of other ids in the file (of another manifest) are left alone. `None` counts all.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        total: int,
        max_fraction: float = 0.05,
        known: Collection[str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.total = total
        self.max_fraction = max_fraction
        self._known = None if known is None else frozenset(known)
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
        """
        self._reload()
        if (path, id) not in self._reasons:
            line = json.dumps({"path": path, "id": id, "reason": reason}, ensure_ascii=False) + "\n"
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self._torn:
                line = "\n" + line
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)
            self._reload()
            self._reasons.setdefault((path, id), reason)
        self.check()

    def check(self) -> None:
        """Raises `SkipLimitExceeded` if skipped rows are more than `max_fraction` of all."""
        count = len(self._reasons)
        if count > self.max_fraction * self.total:
            first = "; ".join(f"{name}: {reason}" for (_, name), reason in list(self._reasons.items())[:3])
            raise SkipLimitExceeded(
                f"{self.path}: {count} of {self.total} videos were skipped, more than the limit of"
                f" {self.max_fraction:.1%} (--data.max_skip_fraction): {first}. Repair or remove these files"
                " (`liteframe check` lists them), or raise the limit"
            )

    def _reload(self) -> None:
        """Takes in the complete lines that this or another process has written since the last look."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read_to)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read_to += len(whole)
        self._torn = len(whole) < len(new)
        for line in whole.splitlines():
            try:
                entry = json.loads(line)
                path, name, reason = entry["path"], entry["id"], entry["reason"]
            except (ValueError, KeyError, TypeError):
                continue  # torn by a kill in mid-write, and closed off by the line after it
            if self._known is None or name in self._known:
                self._reasons.setdefault((path, name), reason)
