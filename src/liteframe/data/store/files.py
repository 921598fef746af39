"""The files of a feature store in a folder that may hold others' too: which are its own, and what may be deleted.

A folder holds ::

    key.json                    what the store was made from
    parts/rRRRRR-NNNNNN.*       what rank R has written so far (shard + sidecar), until it is finalised
    parts/sIIIII-of-NNNNN-r*    the same of a job that makes shard I of N of the list, see `list_shard`
    parts/sIIIII-of-NNNNN.*     who makes that shard (.lock), and that it is made (.json); merge.lock: who merges them
    shard-NNNNN-HASH.*          the final shards: the same cut and bytes for the same content
    index.json                  one entry a line
    statistics.safetensors      mean_C and std_C
    COMPLETE                    sizes and sha256 of index and statistics; without it, there is no store

A shard counts once its sidecar is there, and the sidecar is renamed into place last. What has another name than these
is nobody's business here, and what has one is deleted only where an index, a sidecar or its own start says whose it is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from liteframe.data.store.sealed_json import has_seal, unseal
from liteframe.errors import StoreError
from liteframe.system.run_lock import is_own_lock

KEY_FILE, INDEX_FILE, STATISTICS_FILE, COMPLETE_FILE = "key.json", "index.json", "statistics.safetensors", "COMPLETE"
PARTS = "parts"
MOST_SIDECAR_BYTES = 1 << 28
_FIXED = tuple(re.escape(name) for name in (KEY_FILE, INDEX_FILE, STATISTICS_FILE, COMPLETE_FILE))
_SHARD, _LIST_SHARD = r"shard-\d{5,9}-[0-9a-f]{12}", r"s\d{5,9}-of-\d{5,9}"
_PART = rf"(?:{_LIST_SHARD}-)?r\d{{5,9}}-\d{{6,9}}"
_KINDS = r"\.(?:safetensors|json)"
_FINAL_NAME, _PART_NAME = re.compile(_SHARD + _KINDS), re.compile(_PART + _KINDS)
_LIST_SHARD_NAME = re.compile(rf"{_LIST_SHARD}\.(?:json|lock)|merge\.lock")
_LEFTOVER = re.compile(
    rf"\.(?:{'|'.join((*_FIXED, _SHARD + _KINDS, _PART + _KINDS, _LIST_SHARD + '.json'))})\.[0-9a-f]{{16}}\.part"
)
_SHARD_START = re.compile(rb'.{8}\{"__metadata__":\{"format":"pt"\},"', re.DOTALL)
_SIDECAR_START = b'{"shard":'
OTHER_FOLDER = "give another folder, or free some space"


@contextmanager
def named_disk_errors(path: Path, advice: str) -> Iterator[None]:
    """Makes a StoreError about `path` of whatever the system says."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror or error}); {advice}") from error


def is_shard_name(name: object) -> bool:
    """Whether `name` is that of a final shard."""
    return isinstance(name, str) and name.endswith(".safetensors") and _FINAL_NAME.fullmatch(name) is not None


def final_files(folder: Path) -> list[Path]:
    """Final shards and their sidecars, by name."""
    return _named(folder, _FINAL_NAME)


def part_files(folder: Path, writer: str = "") -> list[Path]:
    """Parts and their sidecars, by name; of all, or of those whose names begin with `writer` and a hyphen."""
    files = _named(folder / PARTS, _PART_NAME)
    return [path for path in files if path.name.startswith(f"{writer}-")] if writer else files


def part_number(path: Path) -> int:
    """Number of a part among those of its writer."""
    return int(path.stem.rpartition("-")[2])


def list_shard_files(folder: Path) -> list[Path]:
    """Records and locks of shards of the list, by name."""
    return _named(folder / PARTS, _LIST_SHARD_NAME)


def _named(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name) and _is_plain(path))


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def remove_leftovers(folder: Path, writer: str = "") -> None:
    """Removes what killed writers of a store left of files that they were writing; nobody may be writing now.

    Args:
        folder: the store, or its parts.
        writer: only parts of this writer, see `part_files`.
    """
    for path in folder.glob(".*.part"):
        own = not writer or path.name.startswith(f".{writer}-")
        if own and _LEFTOVER.fullmatch(path.name) and _is_plain(path):
            path.unlink(missing_ok=True)


def foreign_files(folder: Path) -> list[Path]:
    """What lies in `folder` and is not of the parts and shards of a store, by name."""
    found = [path for path in folder.iterdir() if path.name != PARTS or not path.is_dir()]
    parts = list((folder / PARTS).iterdir()) if (folder / PARTS).is_dir() else []
    own = (
        re.compile(f"{_FINAL_NAME.pattern}|{_LEFTOVER.pattern}"),
        re.compile(f"{_PART_NAME.pattern}|{_LIST_SHARD_NAME.pattern}|{_LEFTOVER.pattern}"),
    )
    odd = [path for path in found if not own[0].fullmatch(path.name)]
    return sorted(odd + [path for path in parts if not own[1].fullmatch(path.name)])


def is_own(path: Path, key_digest: str) -> bool:
    """Whether a file with the name of a part or shard is, or was before it was damaged, of the store with this key.

    A whole sidecar says it for its shard too; else a file must start or end as only a store's files do, or be blank.
    """
    sidecar = path.with_suffix(".json")
    data = _read(sidecar)
    try:
        value, is_sealed = unseal(data, str(sidecar))
        if is_sealed:
            return value.get("key") == key_digest
    except StoreError:
        pass  # damaged, so that it is judged by what is left of it
    is_sidecar = data.startswith(_SIDECAR_START) or has_seal(data)
    if path == sidecar:
        return is_sidecar or not data.strip(b"\0")
    start = _read(path, 64)
    return is_sidecar or not start or _SHARD_START.match(start) is not None


def _read(path: Path, most: int = MOST_SIDECAR_BYTES) -> bytes:
    """The first bytes of a file; none where it cannot be read."""
    if not _is_plain(path):
        return b""
    with named_disk_errors(path, "repair the disk, or give another folder"), open(path, "rb") as file:
        return file.read(most)


def tidy(folder: Path, key_digest: str, keep: Collection[str], listed: Collection[str]) -> None:
    """Removes this store's own parts and shards, and its folder of parts where that is empty then.

    Args:
        folder: the store.
        key_digest: of its key.
        keep: names of final files that stay.
        listed: names of shards that an index or a sidecar has named, so that they are the store's however they start.
    """
    files = [path for path in (*final_files(folder), *part_files(folder)) if path.name not in keep]
    for path in [path for path in files if path.name in listed or is_own(path, key_digest)]:
        path.unlink(missing_ok=True)  # sidecars first, by name: a shard without does not count
    for path in list_shard_files(folder):
        if is_own_lock(path) if path.suffix == ".lock" else is_own(path, key_digest):
            path.unlink(missing_ok=True)
    parts = folder / PARTS
    if parts.is_dir():
        remove_leftovers(parts)
        if not parts.is_symlink() and not any(parts.iterdir()):
            parts.rmdir()
    remove_leftovers(folder)
