"""Lists of videos: manifests, LLaVA, ShareGPT and chat rows as JSONL, JSON and Parquet."""

from __future__ import annotations

import json
import math
import os
import random
import re
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from fuzz.media import paint, write_clip
from fuzz.mutate import damage_file, mutate_tree, to_json
from fuzz.outcome import Input, Verdict, of_error
from liteframe.data.checking.source_check import check_source
from liteframe.data.decoding.processes.pool import DecodePool
from liteframe.data.loading.batching import SequentialRequests
from liteframe.data.loading.dataset import ClipSettings, VideoDataset
from liteframe.data.loading.loader import VideoLoader
from liteframe.data.loading.skips import SkipLedger
from liteframe.data.sampling import UniformMidpoints
from liteframe.data.sources.conversations import choices_of, placeholders_of_questions, turns_of
from liteframe.data.sources.list_rows import each_row
from liteframe.data.sources.manifest import read_manifest
from liteframe.errors import LiteFrameError, ManifestError

_TURNS = [{"from": "human", "value": "<video>\nWhat happens?"}, {"from": "gpt", "value": "A ball rolls."}]
_CHAT = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "And then?"}]},
    {"role": "assistant", "content": "It stops."},
]
_CHOICE = {"question": "Which?", "options": ["A. red", "B. blue"], "answer": "B"}
_FORMS: dict[str, Any] = {
    "manifest": lambda n: {"path": f"{n % 2}.mp4", "id": f"v{n}", "start": 0.0, "end": 0.5 + n, "decoder": "pyav"},
    "choices": lambda n: {"path": f"{n % 2}.mp4", "id": n, **_CHOICE, "questions": [_CHOICE | {"type": "needle"}]},
    "checked": lambda n: {"path": f"{n % 2}.mp4", "ok": True, "decoder": "pyav", "frames": 9, "lacks": {}, "rows": 1},
    "llava": lambda n: {"id": f"a{n // 2}", "data_source": "part", "video": f"{n % 2}.mp4", "conversations": _TURNS},
    "sharegpt": lambda n: {"videos": [f"{n % 2}.mp4"], "messages": _TURNS, "tags": ["a", "b"]},
    "chat": lambda n: {"video": f"{n % 2}.mp4", "messages": _CHAT, "key_frames": [[1, 3], [5, 6]]},
}
_SUFFIXES = ("jsonl", "json", "parquet")


class Lists:
    """Reads a list as `fit`, `predict` and `check` do, loads its videos with `on_error: skip`, reads its questions."""

    share, deadline_s = 30, 20.0

    def __init__(self, seeds: Path) -> None:
        self.seeds, self.names = seeds, []
        self._pool: DecodePool | None = None

    def prepare(self) -> None:
        for name in ("0.mp4", "1.mp4"):
            write_clip(self.seeds / name, [paint(number) for number in range(12)])
        (self.seeds / "part").mkdir()
        (self.seeds / "part" / "1.mp4").write_bytes((self.seeds / "1.mp4").read_bytes())

    def make(self, rng: random.Random, folder: Path) -> Input:
        form, suffix = rng.choice(list(_FORMS)), rng.choice(_SUFFIXES)
        rows: list[Any] = [_FORMS[form](n) for n in range(rng.randint(1, 6))]
        path, how = folder / f"list.{suffix}", "intact"
        kind = rng.random()
        if 0.02 < kind < 0.15:
            how = ", ".join(_name(rng, rng.choice(rows), self.names) for _ in range(rng.randint(1, 3)))
        elif 0.15 < kind < 0.65:
            rows, how = mutate_tree(rng, rows, self.names)
        is_table = _write(path, rows)
        if kind > 0.6:
            other = folder / "other"
            _write(other.with_suffix(f".{rng.choice(_SUFFIXES)}"), [_FORMS["llava"](0)])
            how = f"{how}, {damage_file(rng, path, sorted(folder.glob('other*')))}"
        root = rng.choice((None, None, str(self.seeds), "s3://bucket/videos"))
        for name in ("0.mp4", "1.mp4", "part"):
            (folder / name).symlink_to(self.seeds / name)
        return Input(
            f"{form} {suffix}, root {root and 'set'}: {how}", path, {"root": root}, how == "intact" and is_table
        )

    def feed(self, item: Input) -> Verdict:
        root = item.data["root"]
        try:
            rows = read_manifest(item.path, root)
            verdict = self._compare(item, rows)
        except LiteFrameError as error:
            rows, verdict = None, of_error(error, item)
        if verdict.outcome not in ("right", "undetectable", "named"):
            return verdict
        try:
            places = list(each_row(item.path, root))
            check_source(str(item.path), root)
        except LiteFrameError as error:
            whole = of_error(error, item)
            return whole if rows is None else Verdict("silent", f"read, but not row by row: {whole.detail}")
        if rows is not None and len(places) != len(rows):
            return Verdict("silent", f"{len(rows)} rows, but {len(places)} one by one")
        for where, parsed in places:
            if isinstance(parsed, ManifestError) and item.path.name not in str(parsed):
                return Verdict("unnamed", f"a bad row names no file: {parsed}")
            if not isinstance(parsed, ManifestError):
                self._ask(parsed.row.as_dict(), where)
        usable = [parsed.row for _, parsed in places if not isinstance(parsed, ManifestError)][:4]
        if root is None or not root.startswith("s3:"):
            self._load([row for row in usable if "://" not in row.path], item)
        return verdict

    @staticmethod
    def _compare(item: Input, rows: list[Any]) -> Verdict:
        """The rows against those of another reader, by what README and docstrings say of fields."""
        truth = _plain_rows(item.path)
        if truth is None or len(truth) != len(rows):
            return Verdict("silent", f"{len(rows)} rows of a list of {truth if truth is None else len(truth)}")
        for plain, row in zip(truth, rows, strict=True):
            wanted = _fields(plain)
            if "texts_fault" in row.extra:  # told to those that ask for texts
                wanted = {name: value for name, value in wanted.items() if name in ("start", "end")}
            found = {name: getattr(row, name) for name in wanted}
            if repr(found) != repr(wanted):
                return Verdict("silent", f"fields {found}, the list says {wanted}")
            name, root = _video(plain), item.data["root"] or str(item.path.parent)
            name = name if item.data["root"] else os.path.expanduser(name)
            url = "://" in root or re.match(r"[A-Za-z][\w+.-]*://", name)
            local = {os.path.normpath(os.path.join(root, str(part), name)) for part in ("", plain.get("data_source"))}
            if not name or (row.path not in local and not (url and row.path.endswith(name.split("/")[-1]))):
                return Verdict("silent", f"path {row.path!r}, the list says {name!r}")
            if item.data["root"] and not url and not _below(row.path, root):
                return Verdict("escape", f"{row.path} is not below the root")
        return Verdict("right")

    @staticmethod
    def _ask(row: dict[str, Any], where: str) -> None:
        for read in (turns_of, choices_of, lambda row: row.get("conversations") and placeholders_of_questions(row)):
            try:
                read(row)
            except ManifestError as error:
                if not str(error):
                    raise RuntimeError(f"{where}: an error without a word") from error

    def _load(self, rows: list[Any], item: Input) -> None:
        """Loads the rows; one that is bad may not stop the others."""
        self._pool = self._pool or DecodePool(1, 15.0)
        settings = ClipSettings((56, 56), on_error="skip")
        data = VideoDataset(rows, [UniformMidpoints()], self._pool, settings, question_types=[["needle"]])
        ledger = SkipLedger(item.path.parent / "skipped.jsonl", max(1, len(rows)), 1.0)
        loader = VideoLoader(data, SequentialRequests(len(rows), 4, 2, 0), ledger=ledger)
        loaded = sum(len(batch.get("sample_ids", ())) + len(batch["skipped"]) for batch in loader)
        if loaded != len(rows):
            raise RuntimeError(f"{loaded} of {len(rows)} rows came out of the loader")


def _name(rng: random.Random, row: dict[str, Any], names: list[Any]) -> str:
    """Puts a hostile word where a row names something."""
    field = rng.choice(("decoder", "path", "video", "videos", "data_source", "id", "sampler", "error", "type"))
    row[field] = rng.choice(names)
    return f"{field} {row[field]}"


def _write(path: Path, rows: Any) -> bool:
    """Writes a list; False where no table holds the rows, and they are text under the name of one."""
    is_table = True
    if path.suffix == ".parquet":
        try:
            table = pyarrow.Table.from_pylist([row if isinstance(row, dict) else {"path": row} for row in rows])
            parquet.write_table(table, path)
            return True
        except (pyarrow.ArrowException, TypeError, ValueError, OverflowError, AttributeError, KeyError):
            is_table = False
    lines = path.suffix == ".jsonl" and isinstance(rows, list)
    path.write_text("\n".join(to_json(row) for row in rows) if lines else to_json(rows), encoding="utf-8")
    return is_table


def _plain_rows(path: Path) -> list[Any] | None:
    if path.suffix == ".parquet" or path.read_bytes()[:4] == b"PAR1":
        return [_without_nulls(row) for row in parquet.read_table(path).to_pylist()]
    text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    if text.lstrip()[:1] == "[":
        return json.loads(text)
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _without_nans(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nans(item) for name, item in value.items() if item == item}
    return [_without_nans(item) for item in value] if isinstance(value, list) else value


def _video(row: dict[str, Any]) -> str:
    found = next((row[name] for name in ("path", "video", "videos") if not _is_empty(row.get(name))), None)
    found = found[0] if isinstance(found, list) and len(found) == 1 else found
    return found if isinstance(found, str) else ""


def _is_empty(value: Any) -> bool:
    if isinstance(value, list | dict):
        return all(map(_is_empty, value.values() if isinstance(value, dict) else value))
    return value is None or value != value or value == ""


def _fields(row: dict[str, Any]) -> dict[str, Any]:
    row = _without_nans(row)
    given = {name: row[name] for name in ("start", "end") if str(row.get(name, "")).strip() not in ("", "None", "[]")}
    seconds = {name: float(given[name]) if name in given else None for name in ("start", "end")}
    turns, messages = row.get("conversations"), row.get("messages")
    if not turns and messages and _is_empty(row.get("path")):
        turns = messages
    bad = [name for name, value in seconds.items() if value is not None and not 0 <= value < math.inf]
    return {
        **{name: row.get(name) for name in ("question", "answer")},
        "options": None if row.get("options") == "" else row.get("options"),
        "conversations": None if turns == "" else turns,
        **(seconds if not bad else dict.fromkeys(bad, "seconds from 0 on")),
    }


def _below(path: str, root: str) -> bool:
    real = os.path.realpath(root)
    return os.path.realpath(path) == real or os.path.realpath(path).startswith(real + os.sep)
