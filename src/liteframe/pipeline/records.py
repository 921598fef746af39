"""What a pipeline remembers about its stages, in the run folder.

``<run>/<stage>/progress.json`` holds the seconds spent so far and what the stage was started from; when the stage is
done it becomes ``done.json``.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import liteframe
from liteframe.command.configs import find_config
from liteframe.errors import ConfigError
from liteframe.pipeline.recipe import StageSpec
from liteframe.system.atomic import atomic_write_json
from liteframe.system.bounded_text import parse_json

_SECONDS_BETWEEN_WRITES = 5.0


@dataclass(frozen=True)
class Fingerprint:
    """What the result of a stage follows from; two runs with equal fingerprints make the same.

    Attributes:
        verb, args, seed: the command; the run folder in it stays a placeholder, so a run may be moved.
        configs: sha256 of the text of each config file, by its name in the recipe.
        version: of liteframe, as a release: what happens between two is in `code_digest`.
        before: digests of the stages before, by name.
    """

    verb: str
    args: list[str]
    seed: int
    configs: dict[str, str]
    version: str
    before: dict[str, str]

    @property
    def digest(self) -> str:
        """One sha256 over all of it."""
        return _sha256(json.dumps(asdict(self), sort_keys=True))

    def difference(self, earlier: dict[str, Any]) -> str | None:
        """In words, the first thing in which this differs from an earlier one read from a record; None if nothing."""
        now = asdict(self)
        if now["configs"] != (before := earlier.get("configs", {})):
            changed = [name for name in now["configs"] if before.get(name) != now["configs"][name]]
            return f"config {changed[0]} changed" if changed else "it has fewer configs now"
        if now["before"] != (before := earlier.get("before", {})):
            changed = [name for name in now["before"] if before.get(name) != now["before"][name]]
            return f"stage {changed[0]} before it changed" if changed else "it has fewer stages before it now"
        for name in ("verb", "args", "seed", "version"):
            if now[name] != earlier.get(name):
                return f"{name} was {_words(earlier.get(name))}, is {_words(now[name])}"
        return None


def fingerprint(stage: StageSpec, seed: int, before: dict[str, str]) -> Fingerprint:
    """The fingerprint of ``stage`` as its config files are now; ``before`` maps earlier stages to their digests."""
    configs = {name: _sha256(find_config(name).read_text(encoding="utf-8")) for name in stage.config}
    release = liteframe.__version__.partition(".dev")[0]
    return Fingerprint(stage.verb, stage.args, seed, configs, release, before)


@cache
def code_digest() -> str:
    """sha256 over the package's own sources, so that a record says which code made it."""
    package = Path(liteframe.__file__).parent
    sources = sorted(package.rglob("*.py"))
    return _sha256("".join(f"{path.relative_to(package)}\n{path.read_text(encoding='utf-8')}" for path in sources))


def done_path(run: Path, stage: str) -> Path:
    """Where the record of a finished stage lies."""
    return run / stage / "done.json"


def progress_path(run: Path, stage: str) -> Path:
    """Where the record of an unfinished stage lies."""
    return run / stage / "progress.json"


def read_record(path: Path) -> dict[str, Any] | None:
    """The record at ``path``; None if there is none.

    Raises:
        ConfigError: if it is not the JSON that a pipeline writes.
    """
    if not path.is_file():
        return None
    record = parse_json(path.read_bytes(), str(path))
    whole = isinstance(record, dict) and isinstance(record.get("fingerprint"), dict)
    if not whole or not all(_is_count(record.get(name, 1)) for name in ("seconds", "tries")) or "seconds" not in record:
        raise ConfigError(f"{path}: not a record of a stage; move its folder away to run this stage again")
    return record


class StageClock:
    """Counts the seconds of a stage over all its tries, and notes them every few seconds so that a kill loses few.

    Args:
        path: the stage's ``progress.json``.
        record: what to write there; ``seconds`` and ``tries`` in it come from the earlier tries.
    """

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        self._path, self._record = path, record
        self._earlier = float(record["seconds"])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_noting, daemon=True, name="stage-clock")

    @property
    def seconds(self) -> float:
        """Seconds spent so far, earlier tries included."""
        return self._earlier + time.monotonic() - self._start

    def __enter__(self) -> StageClock:
        self._start = time.monotonic()
        self._note()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._note()

    def _note(self) -> None:
        atomic_write_json(self._path, {**self._record, "seconds": round(self.seconds, 3)})

    def _keep_noting(self) -> None:
        while not self._stop.wait(_SECONDS_BETWEEN_WRITES):
            self._note()


def _is_count(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
