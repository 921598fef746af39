"""One evaluation in one folder: its settings, and an answer a line, written as they come.

`evaluation.json` says what is asked of what; each process appends to an `answers-*.jsonl` of its own. A process that
comes after another, or runs beside it, asks only what no file answers yet.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from filelock import lock_descriptor

from liteframe.errors import ConfigError, DataError
from liteframe.evaluation.benchmarks.question import Question, Unusable
from liteframe.evaluation.scoring.scores import Answer
from liteframe.system.json_files import read_json, write_json
from liteframe.system.whole_number import whole_number

FORMAT = "liteframe evaluation 1"
SETTINGS = "evaluation.json"
ANSWERED, SKIPPED = "answered", "skipped"
_LOCK_OF_PART = re.compile(r"\.part-(\d+)-of-(\d+)\.lock")
Key = tuple[str, int]
"""Id of a question and a frame count."""


@dataclass(frozen=True)
class Part:
    """Which of `count` equal shares of an evaluation a process does; `number` counts from 1."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str | None) -> Part:
        """Of "2/4"; of None what torchrun or SLURM says of this process, and else all. Raises ConfigError."""
        if text is None:
            return cls._of_launcher()
        number, count = (whole_number(word) for word in text.partition("/")[::2])
        if number is None or count is None or not 1 <= number <= count:
            raise ConfigError(f"--part {text!r:.80}: give a number and a count, such as 2/4")
        return cls(number, count)

    @classmethod
    def _of_launcher(cls) -> Part:
        for names in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")):
            rank, count = (os.environ.get(name) for name in names)
            if rank is None and (count is None or names[0] != "RANK"):
                continue
            place, processes = (whole_number(told or "") for told in (rank, count))
            if place is None or processes is None or place >= processes:
                raise ConfigError(
                    f"{names[0]} is {rank!r:.80} and {names[1]} is {count!r:.80} in the environment, which is no"
                    " process of several: unset both, or give --part, such as 2/4"
                )
            return cls(place + 1, processes)
        return cls()

    @property
    def file(self) -> str:
        """Name of its file of answers."""
        return "answers.jsonl" if self.count == 1 else f"answers-{self.number}-of-{self.count}.jsonl"


class ResultFolder:
    """The folder of one evaluation.

    Args:
        path: of the folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def prepare(self, settings: Mapping[str, Any], notes: Mapping[str, Any]) -> None:
        """Makes the folder, or finds that it is of the same evaluation.

        Args:
            settings: which the answers depend on.
            notes: what else is recorded, of whoever comes first.

        Raises:
            ConfigError: something else is there, or an evaluation with other settings, which are named.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--out {self.path}: cannot be made ({error.strerror or error}); give another") from error
        names = [name for name in os.listdir(self.path) if not name.startswith(".")]
        if names and SETTINGS not in names:
            raise ConfigError(
                f"--out {self.path}: is no evaluation and holds {min(names)}; give a new folder, or an empty one"
            )
        with self.locked():
            if (self.path / SETTINGS).exists():
                self._require_same(settings)
                return
            write_json(self.path / SETTINGS, {"format": FORMAT, "settings": dict(settings), **notes})

    def record(self) -> dict[str, Any]:
        """What `evaluation.json` says. Raises DataError where there is none."""
        path = self.path / SETTINGS
        record = read_json(path)
        if record.get("format") != FORMAT or not isinstance(record.get("settings"), dict):
            raise DataError(f"{path}: no evaluation of this version of liteframe; give the folder of one (--out)")
        return record

    def _require_same(self, settings: Mapping[str, Any]) -> None:
        known, now = self.record()["settings"], json.loads(json.dumps(settings))
        for name in dict.fromkeys((*known, *now)):
            if known.get(name) != now.get(name):
                raise ConfigError(
                    f"--out {self.path}: holds an evaluation with {name} {known.get(name)!r}, this one has"
                    f" {now.get(name)!r}; give another folder, or the same settings"
                )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from settings and report in the body."""
        with _lock(self.path / ".evaluation.lock", wait=True):
            yield

    @contextmanager
    def writing(self, part: Part) -> Iterator[AnswerFile]:
        """The file of a part, for this process alone.

        Raises:
            ConfigError: another process has it, or is at work on another division into parts; or somebody else's file.
        """
        for name in sorted(os.listdir(self.path)):
            match = _LOCK_OF_PART.fullmatch(name)
            if match and int(match[2]) != part.count:
                with _lock(self.path / name) as free:
                    if not free:
                        raise ConfigError(
                            f"{self.path}: part {match[1]}/{match[2]} is at work on it; wait for it, or divide in"
                            f" {match[2]}"
                        )
        with _lock(self.path / f".part-{part.number}-of-{part.count}.lock") as free:
            if not free:
                raise ConfigError(f"{self.path}: part {part.number}/{part.count} is at work already; wait for it")
            with AnswerFile(self.path / part.file) as file:
                yield file

    def answered(self) -> set[Key]:
        """What has an answer; a question that was skipped may be asked again."""
        return {key for key, line in self.lines().items() if line["status"] == ANSWERED}

    def lines(self) -> dict[Key, dict[str, Any]]:
        """The line of each question at each frame count, of all parts: its answer, if it has one, or why it has none.

        Raises:
            DataError: a line that liteframe did not write, but for the last of a file.
        """
        found: dict[Key, dict[str, Any]] = {}
        for path in sorted(self.path.glob("answers*.jsonl")):
            for line in read_lines(path):
                key = (line["question"], line["frames"])
                if found.get(key, {}).get("status") != ANSWERED:
                    found[key] = line
        return found


@contextmanager
def _lock(path: Path, wait: bool = False) -> Iterator[bool]:
    """Has a lock in the body, if nobody else has it; whether it does. It is free again however its holder ends."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        yield lock_descriptor(handle, blocking=wait)
    finally:
        os.close(handle)


class AnswerFile:
    """Appends lines, each on the disk before the next question is asked. A torn last line is cut off first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None

    def __enter__(self) -> AnswerFile:
        if self.path.exists():
            read_lines(self.path)  # so that nothing is appended to what is no file of answers
        self._file = open(self.path, "ab")
        end = _end_of_whole_lines(self.path)
        if end != self._file.tell():
            self._file.truncate(end)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._file is not None
        self._file.close()

    def append(self, line: Mapping[str, Any]) -> None:
        """Raises ValueError for a number that is not finite."""
        assert self._file is not None
        self._file.write(json.dumps(line, ensure_ascii=False, allow_nan=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file of answers. Raises DataError for one that is none, unless it is the last and torn."""
    data = path.read_bytes()[: _end_of_whole_lines(path)]
    lines = []
    for number, text in enumerate(data.split(b"\n")[:-1], 1):
        try:
            line = json.loads(text)
            whole = isinstance(line["question"], str) and type(line["frames"]) is int and isinstance(line["asked"], str)
        except (ValueError, KeyError, TypeError):
            whole = False
        if not whole or line.get("status") not in (ANSWERED, SKIPPED):
            raise DataError(f"{path}: line {number} is no answer that liteframe wrote; take it out")
        lines.append(line)
    return lines


def _end_of_whole_lines(path: Path) -> int:
    """Where the last whole line ends: behind a line break, and not a row of zeros that a crash left."""
    data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    last = data[:end].rstrip(b"\n").rpartition(b"\n")[2]
    if last and not _is_json(last):
        end = data[:end].rstrip(b"\n").rfind(b"\n") + 1
    return end


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def fingerprint(question: Question) -> str:
    """Tells whether a question is the one that was asked. Its key may have been corrected since, and its file moved."""
    parts = (PurePosixPath(question.video).name, question.text, question.options, question.published)
    return hashlib.sha256(repr((*parts, question.start_s, question.end_s)).encode()).hexdigest()[:16]


def require_same_questions(
    lines: Mapping[Key, Mapping[str, Any]], rows: Sequence[Question | Unusable], where: str
) -> None:
    """Raises DataError where there are answers to questions that are no longer there, or have changed.

    Rows that cannot be asked any more, as those of a video that was taken away, are left out with their answers.
    """
    by_id = {row.id: fingerprint(row) for row in rows if isinstance(row, Question)}
    left_out = {row.id for row in rows if isinstance(row, Unusable)}
    for (name, _), line in lines.items():
        if name not in left_out and by_id.get(name) != line["asked"] and (name in by_id or line["status"] == ANSWERED):
            known = "has changed" if name in by_id else "is no longer there"
            raise DataError(f"{where}: question {name!r} was asked and {known}; evaluate anew, in another --out")


def answers_of(
    lines: Mapping[Key, Mapping[str, Any]], questions: Sequence[Question], frames: int
) -> tuple[dict[str, Answer], dict[str, str]]:
    """The answers at a frame count by question, and why others have none."""
    names = {question.id for question in questions}
    answers, skipped = {}, {}
    for (name, count), line in lines.items():
        if count != frames or name not in names:
            continue
        if line["status"] == SKIPPED:
            skipped[name] = str(line.get("why"))
        else:
            logits = line.get("option_logits")
            answers[name] = Answer(line.get("answer"), None if logits is None else tuple(logits))
    return answers, skipped
