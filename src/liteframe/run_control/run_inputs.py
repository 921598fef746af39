"""What a run reads, and whether it is still the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from liteframe.data.sources.folder import folder_rows
from liteframe.data.sources.video_row import VideoRow
from liteframe.errors import ManifestError
from liteframe.system.own_folder import listing_sha256

_MOST_FILES = 1000
_MOST_SIZES = 10_000
_WHOLE_BYTES = 64 << 20
_WHOLE_FOLDER_BYTES = 1 << 30
_END_BYTES = 1 << 20
_SPLITS = frozenset(("train", "val", "test", "predict"))
_NOT_READ = frozenset(("remote_cache", "clip_store", "root", "store_root", "store_cache"))
"""Caches, which change nothing, and folders of videos that a list names."""


def inputs_of(config: Mapping[str, Any], outputs: Collection[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Files, folders and models of the hub that settings of model, data and `ckpt_path` name, each by its setting.

    Args:
        config: all settings, as plain values.
        outputs: dotted names of settings that name what the run writes.
    """
    for name, text in texts_of(config):
        parts = name.split(".")
        if parts[0] in ("model", "data", "ckpt_path") and name not in outputs and _NOT_READ.isdisjoint(parts):
            facts = _facts_of_input(name, text)
            if facts is not None:
                yield name, {"path": text, **facts}


def differences(inputs: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """In words, every input that is not what `inputs_of` found; relative paths are seen from the current folder."""
    for name, before in inputs.items():
        place, now = f"{name} {before.get('path')}", _facts_of_input(name, str(before.get("path")))
        if now is None:
            yield f"{place}: is not there any more"
        for fact, value in () if now is None else now.items():
            if fact == "unreadable" and before.get(fact) != value:
                yield f"{place}: cannot be read ({value})"
                break
            if before.get(fact) != value:
                yield f"{place}: {fact} was {str(before.get(fact))[:12]}, is {str(value)[:12]}"
                break


def texts_of(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text in nested mappings and lists, with its dotted name."""
    if isinstance(value, str):
        yield name, value
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from texts_of(inner, f"{name}.{key}" if name else str(key))


def names_videos(name: str) -> bool:
    """Whether the setting of this dotted name is one of the lists or folders of videos of `data`."""
    first, *rest = name.split(".")
    return first == "data" and not _SPLITS.isdisjoint(rest)


def facts_of(text: str, names: str = "*") -> dict[str, Any] | None:
    """What tells a file or folder from others wherever it lies, or the commit of a model of the hub; else None.

    A file above 64 MiB is told by its size and both its ends; a folder that liteframe exported by its listing, another
    one by the names, sizes and contents of its files, of which those above 2 MiB are told by their ends where all take
    more than 1 GiB. In a folder of more than 1000 files, the contents of the JSON files at its top alone count, where a
    feature store has its key. Locks and what is hidden do not count.

    Args:
        text: path, or id of a model of the hub.
        names: pattern of the names of a folder's files that count.
    """
    path = Path(text)
    try:
        if text and os.path.isfile(text):  # False too for what is no name at all
            digest = hashlib.sha256()
            _add_content(digest, path, _WHOLE_BYTES)
            return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}
        if text and os.path.isdir(text):
            listing = listing_sha256(path) if names == "*" else None
            return {"sha256": listing} if listing is not None else _facts_of_folder(path, names)
    except OSError as error:
        return {"unreadable": error.strerror or str(error)}
    commit = _hub_commit(text)
    return None if commit is None else {"hub_commit": commit}


def _facts_of_input(name: str, text: str) -> dict[str, Any] | None:
    is_folder_of_videos = bool(text) and names_videos(name) and os.path.isdir(text)
    return _facts_of_videos(Path(text)) if is_folder_of_videos else facts_of(text)


def _facts_of_videos(folder: Path) -> dict[str, Any]:
    """Names of the videos that a run finds in a folder, and sizes of the first 10,000: none of them is read."""
    try:
        rows = [row for row in folder_rows(folder) if isinstance(row, VideoRow)]
    except ManifestError as error:
        return {"unreadable": str(error)}
    told = [*(row.id for row in rows), *(_size(row.path) for row in rows[:_MOST_SIZES])]
    return {"videos": len(rows), "sha256": hashlib.sha256("\n".join(told).encode(errors="surrogateescape")).hexdigest()}


def _size(path: str) -> str:
    try:
        return str(os.stat(path).st_size)
    except OSError as error:  # one video that cannot be opened is the run's to skip
        return error.strerror or str(error)


def _facts_of_folder(folder: Path, names: str) -> dict[str, Any]:
    files = sorted(path for path in folder.rglob(names) if _counts(path, folder) and path.is_file())
    whole = files if len(files) <= _MOST_FILES else [path for path in files if _is_json_at_top(path, folder)]
    size = sum(path.stat().st_size for path in files)
    return {"files": len(files), "bytes": size, "sha256": _digest_of_folder(files, {*whole}, size, folder)}


def _counts(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not hidden and path.suffix != ".lock"


def _is_json_at_top(path: Path, folder: Path) -> bool:
    return path.parent == folder and path.suffix == ".json"


def _digest_of_folder(files: Iterable[Path], read: Collection[Path], size: int, folder: Path) -> str:
    digest, most = hashlib.sha256(), _WHOLE_BYTES if size <= _WHOLE_FOLDER_BYTES else 2 * _END_BYTES
    for path in files:
        digest.update(
            f"{path.relative_to(folder).as_posix()}\n{path.stat().st_size}\n".encode(errors="surrogateescape")
        )
        if path in read:
            _add_content(digest, path, most)
    return digest.hexdigest()


def _add_content(digest: Any, path: Path, most: int) -> None:
    """Adds a file: both ends of it where it is larger than `most` bytes."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        if size > most:
            digest.update(file.read(_END_BYTES))
            file.seek(size - _END_BYTES)
        while block := file.read(1 << 22):
            digest.update(block)


def _hub_commit(name: str) -> str | None:
    """The commit of a model of the hub in the local cache, whose folder is called by it."""
    if name.count("/") != 1 or name.startswith((".", "/", "~")) or any(letter.isspace() for letter in name):
        return None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return Path(found).parent.name if isinstance(found, str) else None
