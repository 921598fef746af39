"""Where the names in a list of videos lead: below its root, where it has one."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from itertools import islice
from typing import Any
from urllib.parse import unquote

from liteframe.data.remote.file import is_url
from liteframe.system.contained_path import OutsideRoot, contained
from liteframe.system.file_url import NotHere, without_file_url
from liteframe.system.user_path import in_home

_NO_PART_OF_A_URL = re.compile(r"[\x00-\x1f\x7f\\]|::")
_MOST_DECODINGS = 4
_AS_NEVER = "changed while the list was read"


class ListRoot:
    """What the names in a list are relative to.

    A list without a root is its user's own: it may name absolute paths (also as `file://`), `~`, `..` and URLs. With
    one, a folder or a URL, no name, `..` or link leads out of it. The folder that a row's `data_source` names is the
    root of that row's video. A list that lies in a bucket and has no root may name what is in the bucket, and URLs.

    It remembers what it saw of each folder, so it is for one reading of one list. While the disk is as it was `seen`,
    another one makes the same of the same names.

    Args:
        folder: or URL that the list lies in.
        root: folder or URL that was given; None for none.
    """

    def __init__(self, folder: str, root: str | None = None) -> None:
        self.is_url = is_url(root or folder)
        self._is_held = root is not None
        self.base: str = (root or folder).rstrip("/") if self.is_url else os.path.abspath(root or folder)
        self._files = _HeldFolder(self.base) if root is not None and not self.is_url else None
        self._source_folders: dict[str, _HeldFolder | OutsideRoot | None] = {}
        self._told: tuple[int, dict[str, int]] = (0, {})
        self._seen_by_others: dict[str, Any] = {"data_sources": {}, "folders": {}}

    def locate(self, name: str, data_source: str | None = None) -> str:
        """The absolute path or URL of `name`.

        Args:
            name: of a video, as the row gives it.
            data_source: what the row gives as that; where the root has a folder of this name, `name` lies in there, or
                begins with it already.

        Raises:
            OutsideRoot: it leads out of the root, or of the folder.
        """
        try:
            name = without_file_url(name)
        except NotHere as error:
            raise OutsideRoot(str(error)) from error
        if self.is_url:
            return self._below_url(name) if self._is_held else self._in_bucket(name)
        if is_url(name):
            if self._files is not None:
                raise OutsideRoot(f"{name!r} is a URL, and the root is the folder {self.base}")
            return name
        if self._files is None:
            name = in_home(name)
        source = self._source(data_source) if data_source and not os.path.isabs(name) else None
        if isinstance(source, OutsideRoot):
            raise source
        if source is not None:
            try:
                return source.locate(source.behind(name))
            except OutsideRoot as error:
                raise OutsideRoot(f"{error} (the folder of its data_source)") from error
        return self._files.locate(name) if self._files is not None else os.path.normpath(os.path.join(self.base, name))

    def short_name(self, name: str, path: str) -> str:
        """The id of a row that gives none: what `locate` made of `name`, as seen from the root."""
        if self.is_url or is_url(path):
            return name
        start = self.base + os.sep
        short = path[len(start) :] if path.startswith(start) else os.path.relpath(path, self.base)
        return short.replace(os.sep, "/") if os.sep != "/" else short

    def seen(self) -> dict[str, Any]:
        """What it saw of the disk, in values of JSON, and what others that read parts of its list did."""
        seen = self._sights(0, {})
        _add_sights(seen, self._seen_by_others)
        return seen

    def news(self) -> dict[str, Any]:
        """What it has seen itself since this was called last, as `seen`."""
        before = self._told
        self._told = len(self._source_folders), {name: folder.count() for name, folder in self._held()}
        return self._sights(*before)

    def take_in(self, seen: dict[str, Any]) -> None:
        """Adds what another one, of the same folder and root, has `seen` for a part of the same list."""
        _add_sights(self._seen_by_others, seen)

    def _held(self) -> list[tuple[str, _HeldFolder]]:
        folders = [("", self._files), *self._source_folders.items()]
        return [(name, folder) for name, folder in folders if isinstance(folder, _HeldFolder)]

    def _sights(self, sources: int, folders: dict[str, int]) -> dict[str, Any]:
        """What it saw, without the first so many sources, and without the first so many folders in each."""
        found = islice(self._source_folders.items(), sources, None)
        return {
            "data_sources": {name: _in_words(source) for name, source in found},
            "folders": {name: folder.seen(folders.get(name, 0)) for name, folder in self._held()},
        }

    def is_as(self, seen: dict[str, Any]) -> bool:
        """Whether the disk is as another one, of the same folder and root, has `seen` it."""
        if any(_in_words(self._source(name)) != words for name, words in seen["data_sources"].items()):
            return False
        held = {"": self._files, **self._source_folders}
        return all(
            isinstance(folder := held[name], _HeldFolder) and folder.is_as(sights)
            for name, sights in seen["folders"].items()
        )

    def _source(self, data_source: str) -> _HeldFolder | OutsideRoot | None:
        """The folder that a row's `data_source` names, or why it must not; None where there is none."""
        if data_source not in self._source_folders:
            try:
                self._source_folders[data_source] = self._find_source_folder(data_source)
            except OutsideRoot as error:
                self._source_folders[data_source] = error
        return self._source_folders[data_source]

    def _below_url(self, name: str) -> str:
        below = name
        if is_url(name):
            if not name.startswith(self.base + "/"):
                raise OutsideRoot(f"{name!r} is a URL that leads out of {self.base}")
            below = name[len(self.base) + 1 :]
        for spelling in _decoded(below):
            leads_out = posixpath.normpath(spelling).partition("/")[0] in ("..", ".", "")
            if leads_out or spelling.startswith("/") or _NO_PART_OF_A_URL.search(spelling):
                raise OutsideRoot(f"{name!r} leads out of {self.base}")
        path, mark, query = below.partition("?")
        return f"{self.base}/{posixpath.normpath(path)}{mark}{query}"

    def _in_bucket(self, name: str) -> str:
        """The URL of what a list that lies at a URL names."""
        if is_url(name):
            return name
        if name.startswith(("/", "~")):
            raise OutsideRoot(
                f"{name!r} is a path of a machine, and its list lies in {self.base}; give the list a root, or copy it"
            )
        protocol, _, rest = self.base.partition("://")
        bucket, _, folder = rest.partition("/")
        path, mark, query = name.partition("?")
        path = posixpath.normpath(posixpath.join(folder, path))
        if path.partition("/")[0] in ("..", ".") or _NO_PART_OF_A_URL.search(name):
            raise OutsideRoot(f"{name!r} leads out of {protocol}://{bucket}")
        return f"{protocol}://{bucket}/{path}{mark}{query}"

    def _find_source_folder(self, data_source: str) -> _HeldFolder | None:
        folder = os.path.normpath(os.path.join(self.base, data_source))
        if is_url(data_source) or not os.path.isdir(folder):
            return None
        if self._files is None:
            return _HeldFolder(folder, begins=data_source)
        try:
            return _HeldFolder(str(contained(self.base, data_source)), outermost=self.base, begins=data_source)
        except OutsideRoot as error:
            raise OutsideRoot(f"its data_source {error}") from error


class _HeldFolder:
    """A folder that names do not lead out of; they are held to `outermost` where links lie.

    Names in there may begin with `begins`, how it is called from outside, unless it holds one of that name itself, as
    `repeats` tells.
    """

    def __init__(self, folder: str, outermost: str | None = None, begins: str = "") -> None:
        self.folder, self._outermost = folder, outermost or folder
        self._begins = os.path.normpath(begins) + os.sep if begins else ""
        self.repeats = bool(begins) and os.path.isdir(os.path.join(folder, begins))
        self._start = folder.rstrip(os.sep) + os.sep
        self._seen: dict[str, OutsideRoot | frozenset[str]] = {}
        self._changed_at: dict[str, int] = {}

    def locate(self, name: str) -> str:
        path = os.path.normpath(self._start + name) if not os.path.isabs(name) else os.path.normpath(name)
        if "\0" in path or not path.startswith(self._start):
            return str(contained(self.folder, name))
        parent, _, file = path.rpartition(os.sep)
        seen = self._seen.get(parent)
        if seen is None:
            self._changed_at[parent] = _changed_at(parent)
            seen = self._seen[parent] = self._look(parent)
        if isinstance(seen, OutsideRoot):
            raise OutsideRoot(f"{name!r}: {seen}")
        return str(contained(self._outermost, path)) if file in seen else path

    def behind(self, name: str) -> str:
        """`name` as seen from here, whether it begins with how this folder is called or not."""
        plain = os.path.normpath(name) if self._begins and not self.repeats else ""
        return plain[len(self._begins) :] if plain.startswith(self._begins) and plain else name

    def count(self) -> int:
        """How many folders were looked at."""
        return len(self._seen)

    def seen(self, skip: int = 0) -> dict[str, tuple[int, str]]:
        """When each folder was changed last, and a digest of what was seen there; but for the first few looked at."""
        looked_at = islice(self._seen.items(), skip, None)
        return {parent: (self._changed_at[parent], _digest(parent, seen)) for parent, seen in looked_at}

    def is_as(self, seen: dict[str, tuple[int, str]]) -> bool:
        """Whether all is as it was `seen`, whatever files have come and gone beside."""
        return all(
            (_changed_at(parent) == changed_at and self._holds(parent)) or _digest(parent, self._look(parent)) == digest
            for parent, (changed_at, digest) in seen.items()
        )

    def _holds(self, parent: str) -> bool:
        try:
            contained(self._outermost, parent)
        except OutsideRoot:
            return False
        return True

    def _look(self, parent: str) -> OutsideRoot | frozenset[str]:
        """Names of the links in a folder, read at one go: asking for each file would take a network disk too long."""
        try:
            contained(self._outermost, parent)
            with os.scandir(parent) as entries:
                return frozenset(entry.name for entry in entries if entry.is_symlink())
        except OutsideRoot as error:
            return error
        except OSError:
            return frozenset()  # not there, or not to be read: then neither is the video


def _changed_at(folder: str) -> int:
    """When names were last added to a folder or taken out of it, in nanoseconds; 0 where there is none."""
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0


def _digest(parent: str, seen: OutsideRoot | frozenset[str]) -> str:
    """What stands for a sight of a folder: why it is not to be read, or its links and where they lead."""
    links = [str(seen)] if isinstance(seen, OutsideRoot) else sorted(seen)
    leads = [] if isinstance(seen, OutsideRoot) else [os.path.realpath(os.path.join(parent, name)) for name in links]
    return hashlib.sha256(repr([links, leads]).encode(errors="surrogatepass")).hexdigest()


def _add_sights(seen: dict[str, Any], others: dict[str, Any]) -> None:
    """Adds sights of others; what was seen in two ways, as it changed in between, becomes what is never seen again."""
    for name, words in others["data_sources"].items():
        if seen["data_sources"].setdefault(name, words) != words:
            seen["data_sources"][name] = _AS_NEVER
    for name, folders in others["folders"].items():
        of_name = seen["folders"].setdefault(name, {})
        for parent, sight in folders.items():
            if of_name.setdefault(parent, sight)[1] != sight[1]:
                of_name[parent] = (-1, _AS_NEVER)


def _in_words(source: _HeldFolder | OutsideRoot | None) -> str | None:
    if isinstance(source, _HeldFolder):
        return f"{source.folder}, twice" if source.repeats else source.folder
    return None if source is None else f"not read: {source}"


def _decoded(name: str) -> list[str]:
    """The spellings that a server may make of `name` by taking `%2e` and the like for what they stand for."""
    spellings = [name]
    while len(spellings) <= _MOST_DECODINGS and (further := unquote(spellings[-1])) != spellings[-1]:
        spellings.append(further)
    return spellings
