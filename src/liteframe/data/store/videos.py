"""Which video an entry of a feature store was made of, told by what is in the file, and where it lies now."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from liteframe.data.decoding.video_file import fault_of
from liteframe.data.remote.file import is_url
from liteframe.data.sources.manifest import VideoSource
from liteframe.errors import DecodeError

NAME, BYTES, ENDS = "name", "bytes", "ends_sha256"
_END_BYTES = 1 << 16
_ANOTHER = "put the one that it was made of there, or make the store anew"
Record = Mapping[str, Any]


def folder_of_sources(sources: Sequence[VideoSource]) -> str | None:
    """The folder that names of videos are relative to: the root or folder of a list, or what several have in common.

    None where there is none, as of URLs.
    """
    folders = []
    for source in sources:
        folder = source.root or (source.path if os.path.isdir(source.path) else os.path.dirname(source.path))
        if not is_url(folder):
            folders.append(os.path.abspath(folder))
    try:
        return os.path.commonpath(folders)
    except ValueError:  # none at all, or on several drives
        return None


def video_facts(path: str, folder: str | None) -> dict[str, Any]:
    """What tells a video from others wherever it lies: name in `folder`, size, and a digest of its two ends.

    Empty for URLs, whose address stays with them.

    Raises:
        OSError: the file cannot be read.
    """
    if is_url(path):
        return {}
    found = os.stat(path)
    facts = {BYTES: found.st_size, ENDS: _ends_sha256(path, found.st_size, found.st_mtime_ns)}
    return facts if folder is None else {NAME: os.path.relpath(path, folder).replace(os.sep, "/"), **facts}


@functools.lru_cache(maxsize=100_000)
def _ends_sha256(path: str, size: int, _changed_ns: int) -> str:
    """Once for each file as it is: the index of a video is at one of its ends, and tells it from any other."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        digest.update(file.read(_END_BYTES))
        file.seek(max(0, size - _END_BYTES))
        digest.update(file.read(_END_BYTES))
    return digest.hexdigest()


def difference(record: Record, path: str) -> str | None:
    """In words, how the file at `path` differs from that of an entry's record; None where nothing tells them apart.

    Raises:
        OSError: the file cannot be read.
    """
    if is_url(path) or BYTES not in record:
        return None
    facts = video_facts(path, None)
    if facts[BYTES] != record[BYTES]:
        return f"it has {facts[BYTES]} bytes, the store's had {record[BYTES]}"
    return None if facts[ENDS] == record.get(ENDS) else "it has the size, but not the content of the store's"


def content_of(record: Record) -> str:
    """Which frames of which video, as text: the same wherever the video lies, unless it is at a URL."""
    video = [record[BYTES], record.get(ENDS)] if BYTES in record else record.get("path")
    return json.dumps([video, record.get("frame_indices")], default=repr)


class VideoPlaces:
    """Where the videos of a store lie now.

    A video is looked for where it was when the store was made, and where others of the store were: one that was moved
    and gone on with names both places.

    Args:
        root: folder that stands for that of the list which the store was made of; None to look where it was.
        records: gives the records of all entries, where they are needed.
    """

    def __init__(self, root: str | None, records: Callable[[], Iterable[Record]]) -> None:
        self.root, self._records = root, records

    def locate(self, record: Record) -> str:
        """The path of an entry's video, or its URL.

        Raises:
            DecodeError: it is not there, cannot be read, or is another file than the store was made of.
        """
        path = str(record["path"])
        if is_url(path):
            return path
        faults: dict[str, str] = {}
        for place in self._candidates(path, _name_of(record)):
            faults[place] = _fault(record, place)
            if not faults[place]:
                return place
        raise DecodeError(*next(iter(faults.items())))

    def _candidates(self, path: str, name: str | None) -> Iterator[str]:
        if self.root is not None:
            yield os.path.normpath(os.path.join(self.root, name or os.path.relpath(path, self._common_folder)))
            return
        yield path
        if name and fault_of(path):
            yield from (os.path.normpath(os.path.join(folder, name)) for folder in self._folders)

    @functools.cached_property
    def _common_folder(self) -> str:
        """Of all videos: what stores that were made without names are relative to."""
        paths = (str(record["path"]) for record in self._records())
        return os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths if not is_url(path)])

    @functools.cached_property
    def _folders(self) -> list[str]:
        """Those that names of entries are relative to; of several, the run that made the store was moved."""
        endings = ((str(record["path"]), f"/{_name_of(record)}") for record in self._records() if _name_of(record))
        return list(dict.fromkeys(path.removesuffix(name) or "/" for path, name in endings if path.endswith(name)))


def _name_of(record: Record) -> str | None:
    name = record.get(NAME)
    return name if isinstance(name, str) and name else None


def _fault(record: Record, path: str) -> str:
    fault = fault_of(path)
    if fault:
        return f"{fault}; where the videos of the store have moved, data.store_root says where they are"
    try:
        odd = difference(record, path)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    return f"is another file than the feature store was made of: {odd}; {_ANOTHER}" if odd else ""
