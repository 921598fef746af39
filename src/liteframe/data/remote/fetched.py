"""Copies of lists, model folders and checkpoints that lie at addresses, in the user's cache.

Each version of an address has a folder `ADDRESS-VERSION` (digests) there, which holds the files that were asked for so
far, each of them whole. What a process uses stays until it ends; else what was not used longest goes, when a new one
needs the room. The server is asked for the version once a minute at most.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from liteframe.data.remote.file_locks import alone, hold, remove_unheld
from liteframe.data.remote.objects import ObjectFacts, facts_of, fetch, objects_below
from liteframe.errors import ConfigError
from liteframe.system.contained_path import OutsideRoot, contained
from liteframe.system.shown_url import shown_url
from liteframe.system.user_cache import user_cache

MOST_GB = "LITEFRAME_FETCHED_GB"
"""Environment variable: most that all copies take, in 1e9 bytes."""
_USUAL_GB = 100.0
_HELD = ".held"
_ENTRY = re.compile(r"[0-9a-f]{40}-[0-9a-f]{16}")
_AT_A_TIME = 4
_ASK_AGAIN_S = 60.0
_recent: dict[str, tuple[float, Path, Mapping[str, ObjectFacts]]] = {}
_handles: dict[Path, int] = {}


def fetched_file(url: str) -> Path | None:
    """A copy of the object at `url`, as it is now; None where there is none.

    Raises:
        ConfigError: it cannot be fetched, or is larger than all copies may be.
    """
    facts = facts_of(url)
    if facts is None:
        return None
    name = PurePosixPath(shown_url(url)).name
    return _copies(url, {name: facts}, [name], lambda _: url) / name


def fetched_files(url: str, names: Iterable[str]) -> Path:
    """A folder with copies of those of the files `names` that are in the folder at `url`, as they are now.

    Raises:
        ConfigError: as `fetched_file`.
    """
    found = {name: facts_of(f"{url}/{name}") for name in names}
    objects = {name: facts for name, facts in found.items() if facts is not None}
    return _copies(url, objects, list(objects), lambda name: f"{url}/{name}")


def fetched_folder(url: str, is_wanted: Callable[[str], bool] = lambda _: True) -> Path | None:
    """A folder with copies of what lies below `url`; None where nothing does.

    Args:
        url: of a bucket.
        is_wanted: whether a file of that name, as seen from `url`, is to be there; others need not.

    Raises:
        ConfigError: as `fetched_file`.
    """
    asked_at, folder, objects = _recent.get(url, (float("-inf"), Path(), {}))
    if time.monotonic() - asked_at > _ASK_AGAIN_S or not folder.is_dir():
        objects = objects_below(url)
        if not objects:
            return None
        asked_at = time.monotonic()
    wanted = [name for name in objects if is_wanted(name)]
    folder = _copies(url, objects, wanted, lambda name: f"{url.rstrip('/')}/{name}")
    _recent[url] = asked_at, folder, objects
    return folder


def _copies(url: str, objects: Mapping[str, ObjectFacts], wanted: list[str], url_of: Callable[[str], str]) -> Path:
    """The folder of this version of an address, with the wanted ones of its objects."""
    cache = user_cache("fetched")
    folder = cache / f"{_digest(url, 40)}-{_version(objects)}"
    try:
        paths = {name: contained(folder, name) for name in wanted}
    except OutsideRoot as error:
        raise ConfigError(f"{shown_url(url)}: {error}; remove it there") from error
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with alone(cache / f".{_digest(url, 40)}.lock"):
            _hold(folder)
            missing = {name: path for name, path in paths.items() if not path.is_file()}
            if missing:
                with alone(cache / ".room.lock"):
                    _make_room(url, cache, sum(objects[name].bytes or 0 for name in missing))
            for path in missing.values():
                path.parent.mkdir(parents=True, exist_ok=True)
            with ThreadPoolExecutor(_AT_A_TIME, "liteframe-fetch") as threads:
                list(threads.map(lambda name: fetch(url_of(name), missing[name], objects[name].bytes), missing))
    except OSError as error:
        raise ConfigError(
            f"{shown_url(url)}: cannot be copied to {cache} ({error.strerror or error}); free space there, or set"
            " XDG_CACHE_HOME to another folder"
        ) from error
    return folder


def _version(objects: Mapping[str, ObjectFacts]) -> str:
    if any(not facts.etag for facts in objects.values()):
        return secrets.token_hex(8)  # nothing tells one version from another
    return _digest(json.dumps([[name, facts.bytes, facts.etag] for name, facts in objects.items()]), 16)


def _hold(folder: Path) -> None:
    """Keeps a folder until this process ends."""
    while folder not in _handles or not folder.is_dir():
        folder.mkdir(exist_ok=True)
        (folder / _HELD).touch()
        if (handle := hold(folder / _HELD)) is not None:
            _handles[folder] = handle
    os.utime(folder / _HELD)


def _make_room(url: str, cache: Path, needed: int) -> None:
    """Removes other versions of an address, and what was not used longest, as far as nobody uses it."""
    most = _most_bytes()
    if needed > most:
        raise ConfigError(
            f"{shown_url(url)}: has {needed / 1e9:.3g} GB, and copies take at most {most / 1e9:g} GB; set {MOST_GB}"
        )
    entries = [entry for entry in cache.iterdir() if _ENTRY.fullmatch(entry.name) and (entry / _HELD).is_file()]
    sizes = {entry: sum(path.stat().st_size for path in entry.rglob("*") if path.is_file()) for entry in entries}
    used = sum(sizes.values())
    own = _digest(url, 40)
    for entry in sorted(entries, key=lambda entry: (not entry.name.startswith(own), (entry / _HELD).stat().st_mtime)):
        if (used + needed > most or entry.name.startswith(own)) and remove_unheld(entry / _HELD):
            shutil.rmtree(entry, ignore_errors=True)
            used -= sizes[entry]
    if used + needed > most:
        raise ConfigError(
            f"{shown_url(url)}: no room in {cache}, as what is there is in use; set {MOST_GB} to more than"
            f" {most / 1e9:g}, or end the processes that use it"
        )


def _most_bytes() -> int:
    given = os.environ.get(MOST_GB, "")
    try:
        gigabytes = float(given or _USUAL_GB)
    except ValueError:
        gigabytes = 0.0
    if not gigabytes > 0:
        raise ConfigError(f"{MOST_GB} is {given}; give a number above 0")
    return int(gigabytes * 1e9)


def _digest(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:digits]
