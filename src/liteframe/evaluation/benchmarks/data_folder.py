"""The files of a benchmark as they were downloaded: lists, videos and subtitles, wherever they were unpacked to."""

from __future__ import annotations

import filecmp
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from liteframe.data.sources.file_kind import is_parquet
from liteframe.data.sources.json_text import json_rows
from liteframe.data.sources.parquet import parquet_rows
from liteframe.data.sources.video_suffixes import VIDEO_SUFFIXES
from liteframe.errors import DataError, ManifestError
from liteframe.evaluation.benchmarks.archives import packed_in
from liteframe.system.bounded_text import parse_json
from liteframe.system.contained_path import OutsideRoot, contained, in_hub_blobs

_PICTURES = (".jpg", ".jpeg", ".png")
_MOST_TOLD = 3


class DataFolder:
    """What lies in a folder, looked through once. Nothing outside of it is found, neither by a name nor by a link.

    Links of the Hugging Face cache to their own blobs are followed. Hidden files and folders are left out, and so is
    what is no file.

    Args:
        root: the folder that the benchmark was downloaded to.

    Raises:
        DataError: there is no such folder, or it cannot be read.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise DataError(f"{self.root}: no such folder; give the one that the benchmark was downloaded to")
        self.files: list[str] = []
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        self._links_out: dict[str, list[str]] = defaultdict(list)
        self._picture_folders: set[str] = set()
        self._unread: list[OSError] = []
        self._walk()

    def _walk(self) -> None:
        real_root = os.path.realpath(self.root)
        for parent, folders, names in os.walk(self.root, onerror=self._unread.append):
            inside = PurePosixPath(Path(parent).relative_to(self.root).as_posix())
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            linked = [name for name in folders if os.path.islink(os.path.join(parent, name))]
            for name in sorted(names) + linked:
                path = str(inside / name)
                if name.startswith("."):
                    continue
                if os.path.islink(os.path.join(parent, name)):
                    if _leads_out(real_root, path) and not in_hub_blobs(self.root, path):
                        self._links_out[name.rpartition(".")[0] or name].append(path)
                        continue
                    if name in linked:
                        continue
                if not os.path.isfile(os.path.join(parent, name)):
                    continue  # a pipe or a device, which may never end
                self.files.append(path)
                self._by_stem[name.rpartition(".")[0] or name].append(path)
                if name.lower().endswith(_PICTURES):
                    self._picture_folders.add(str(inside))

    def lists(self, *patterns: str) -> list[Path]:
        """The files that the first pattern with any fits (``videomme/test-*.parquet``); ``*`` goes over folders too.

        Raises:
            DataError: none fits, with what was looked for, and the archives that have to be unpacked first.
        """
        for pattern in patterns:
            fitting = sorted(path for path in self.files if fnmatchcase(path, pattern))
            if fitting:
                return [self.root / path for path in fitting]
        raise DataError(f"{self.root}: no list of questions, looked for {', '.join(patterns)}{self._what_is_packed()}")

    def rows(self, path: Path) -> Iterator[tuple[str, Any]]:
        """The rows of a list with their positions, as `json_rows` and `parquet_rows` give them.

        Raises:
            DataError: the list as a whole cannot be read.
        """
        try:
            yield from parquet_rows(path) if is_parquet(path) else json_rows(path)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error

    def json_object(self, path: Path, needed: str) -> dict[str, Any]:
        """The object in a JSON file.

        Raises:
            DataError: it cannot be read, or holds none; says what is `needed`.
        """
        try:
            value = parse_json(path.read_bytes(), str(path), DataError)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
        if not isinstance(value, dict):
            raise DataError(f"{path}: an object is needed, {needed}, not {type(value).__name__}")
        return value

    def video(
        self, name: str, folders: Sequence[str] = ("",), anywhere: bool = True, never_in: Collection[str] = ()
    ) -> str:
        """Path of a video from the root, links followed.

        Args:
            name: as the row gives it, with an ending or without; what is there may have any ending of a video.
            folders: where it lies by the published layout; below other folders, too, in this order.
            anywhere: look in the other folders, if it is in none of these.
            never_in: names of folders that hold other videos of the same names.

        Raises:
            ManifestError: there is none, or there are several that differ; says why.
        """
        path = self._find(name, [*folders, ""] if anywhere else folders, VIDEO_SUFFIXES, never_in)
        if path is None:
            unread = f" ({self._unread[0].filename} cannot be read)" if self._unread else ""
            raise ManifestError(
                f"video {name!r}: no such file below {self.root}{unread}; download it, or unpack its archive"
            )
        return path

    def subtitles(self, name: str, folders: Sequence[str], suffix: str) -> str | None:
        """Path of a file of subtitles from the root, found as a video is; None where there is none."""
        return self._find(name, [*folders, ""], {suffix})

    def picture_folder(self, name: str, folders: Sequence[str]) -> str | None:
        """Path of a folder of pictures from the root; None where there is none.

        Raises:
            ManifestError: there are several that differ.
        """
        self._require_inside(name)
        for folder in folders:
            ends = _joined(folder, name)
            found = [path for path in self._picture_folders if path == ends or path.endswith("/" + ends)]
            if found:
                return self._the_one(name, sorted(found, key=_depth), self._same_pictures)
        return None

    def nothing_to_ask(self, reasons: Sequence[str]) -> DataError:
        """The error that not one question can be asked: the first of `reasons`, and what is still packed."""
        why = reasons[0] if reasons else "the list of questions is empty"
        return DataError(f"{self.root}: not one question can be asked: {why}{self._what_is_packed()}")

    def _find(
        self, name: str, folders: Sequence[str], suffixes: Collection[str], never_in: Collection[str] = ()
    ) -> str | None:
        self._require_inside(name)
        stem, suffix = _split(name, suffixes)
        alike = [
            path
            for path in self._by_stem[PurePosixPath(stem).name]
            if _split(path, suffixes)[1] and not set(never_in) & set(PurePosixPath(path).parts)
        ]
        for folder in folders:
            fitting = _ending_with(alike, _joined(folder, stem), suffixes)
            fitting = [path for path in fitting if _split(path, suffixes)[1] == suffix] or fitting
            if fitting:
                return self._canonical(self._the_one(name, sorted(fitting, key=_depth), self._same_bytes))
        linked = self._links_out.get(PurePosixPath(stem).name)
        if linked:
            raise ManifestError(
                f"{name!r}: {linked[0]} is a link that leads out of {self.root}; download real files (for example with"
                " `hf download --local-dir`), or give the folder that both are in"
            )
        return None

    def _same_bytes(self, one: str, other: str) -> bool:
        return filecmp.cmp(self.root / one, self.root / other, shallow=False)

    def _same_pictures(self, one: str, other: str) -> bool:
        folders = self.root / one, self.root / other
        names = set(os.listdir(folders[0]))
        return names == set(os.listdir(folders[1])) and filecmp.cmpfiles(*folders, names, shallow=False)[0] == [*names]

    def _the_one(self, name: str, paths: Sequence[str], same: Callable[[str, str], bool]) -> str:
        """The first of several places, if all hold the same. Raises ManifestError."""
        first, *others = paths
        for other in others:
            try:
                equal = same(first, other)
            except OSError as error:
                raise ManifestError(f"{name!r}: {first} or {other} cannot be read ({error.strerror})") from error
            if not equal:
                raise ManifestError(
                    f"{name!r}: there are {', '.join(paths[:_MOST_TOLD])}, and they differ; keep one of them"
                )
        return first

    def _canonical(self, path: str) -> str:
        if in_hub_blobs(self.root, path):
            return path
        real = os.path.realpath(self.root / path)
        return Path(real).relative_to(os.path.realpath(self.root)).as_posix()

    def _require_inside(self, name: str) -> None:
        try:
            contained(self.root, name)
        except OutsideRoot as error:
            raise ManifestError(f"{error}; correct the row") from error

    def _what_is_packed(self) -> str:
        told = ""
        if self._links_out:
            some = next(iter(self._links_out.values()))[0]
            told += f". {some} is a link that leads out of the folder; give the folder that both are in"
        archives = [str(archive) for archive in packed_in(self.files)]
        if archives:
            more = f" and {len(archives) - _MOST_TOLD} more" if len(archives) > _MOST_TOLD else ""
            told += (
                f". Still packed: {', '.join(archives[:_MOST_TOLD])}{more}; unpack with"
                f" `liteframe evaluate MODEL --benchmark NAME --data {self.root} --unpack`"
            )
        if any(path.endswith((".pkl", ".pickle")) for path in self.files):
            told += ". Pickles are never opened, since they run code: download the videos as files or archives"
        return told


def _leads_out(real_root: str, path: str) -> bool:
    try:
        contained(real_root, path)
    except OutsideRoot:
        return True
    return False


def _depth(path: str) -> tuple[int, str]:
    return path.count("/"), path


def _joined(folder: str, name: str) -> str:
    return str(PurePosixPath(folder) / name)


def _split(path: str, suffixes: Collection[str]) -> tuple[str, str]:
    """Path without its ending, and the ending; an ending that is none of `suffixes` belongs to the name."""
    stem, dot, ending = path.rpartition(".")
    return (stem, dot + ending) if stem and (dot + ending).lower() in suffixes else (path, "")


def _ending_with(paths: Sequence[str], stem: str, suffixes: Collection[str]) -> list[str]:
    """Those that lie exactly there, or else those that do below some other folder."""
    exact = [path for path in paths if _split(path, suffixes)[0] == stem]
    return exact or [path for path in paths if _split(path, suffixes)[0].endswith("/" + stem)]
