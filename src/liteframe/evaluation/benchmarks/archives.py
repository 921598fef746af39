"""Archives that videos are published in, unpacked where they lie; nothing in them is trusted."""

from __future__ import annotations

import glob
import io
import lzma
import os
import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

from liteframe.errors import DataError
from liteframe.system.atomic import atomic_open, remove_leftovers
from liteframe.system.contained_path import OutsideRoot, contained
from liteframe.system.runtime import try_lock

_ZIP = re.compile(r"(?i).*\.zip")
_TAR = re.compile(r"(?i).*\.(?:tar|tgz|tar\.(?:gz|bz2|xz))")
_PART = re.compile(
    r"(?i)(?P<whole>.*\.(?:tar|tgz|tar\.(?:gz|bz2|xz)))(?:[.-]?part[.-]?(?=[a-z]|\d)|[.-](?=a[a-z]$|\d))"
    r"(?P<part>[a-z]{2,3}|\d{1,4})"
)
"""``x.tar.part.aa``, ``x.tar.gz.part-aa``, ``x.tar.part00``, ``x.tar.0``, ``x.tar.aa``; not ``x.tar.md``."""
_LOCK = ".unpacking.lock"
_CHUNK = 1 << 20
_SPARE = 64 << 20
"""Bytes of the disk that are left free."""


@dataclass(frozen=True)
class Archive:
    """A zip, a tar, or the parts of one, as paths from the folder that was looked through."""

    name: str
    parts: tuple[str, ...]

    def __str__(self) -> str:
        return self.parts[0] if len(self.parts) == 1 else f"{self.parts[0]} to {self.parts[-1]}"


def packed_in(files: Sequence[str]) -> list[Archive]:
    """The archives among `files`; the parts of one are one, in their order."""
    archives: dict[str, list[tuple[int, str, str]]] = {}
    for path in sorted(files):
        if _ZIP.fullmatch(path) or _TAR.fullmatch(path):
            archives.setdefault(path, []).append((0, "", path))
        elif match := _PART.fullmatch(path):
            archives.setdefault(match["whole"], []).append((len(match["part"]), match["part"], path))
    return [
        Archive(name, tuple(path for *_, path in sorted(parts)) if len(parts) > 1 else (parts[0][-1],))
        for name, parts in archives.items()
    ]


def unpack(root: str | os.PathLike[str], report: Callable[[str], None] = lambda line: None) -> list[Path]:
    """Unpacks each zip, tar and tar in parts below `root` into the folder that it lies in.

    Files that are there already are kept if they are equal, so that it can be run again, also after it was killed. The
    archives stay.

    Args:
        root: the folder that a benchmark was downloaded to.
        report: told of each archive.

    Returns:
        the files that were written, or were there already.

    Raises:
        DataError: a member leads out of its folder, is a link or a device, or differs from a file that is there; an
            archive is damaged, or lacks a part; the disk has no room; another process is at it. Members before it have
            been written.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give the one that the benchmark was downloaded to")
    names = [
        Path(parent, name).relative_to(root).as_posix()
        for parent, _, found in os.walk(root)
        for name in found
        if not name.startswith(".") and os.path.isfile(os.path.join(parent, name))  # no pipe, which nobody may fill
    ]
    written: list[Path] = []
    with _alone(root):
        for archive in packed_in(names):
            report(f"unpacking {archive}")
            written += _unpack(archive, root)
    return written


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Keeps other processes from unpacking in the body. Raises DataError where one is at it already."""
    try:
        handle = os.open(root / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise DataError(f"{root}: cannot be written to ({error.strerror}); unpack its archives elsewhere") from error
    try:
        if not try_lock(handle):
            raise DataError(f"{root}: another process unpacks it; wait for that one")
        yield
    finally:
        os.close(handle)


def _unpack(archive: Archive, root: Path) -> Iterator[Path]:
    paths = [root / part for part in archive.parts]
    if _ZIP.fullmatch(archive.name):
        return _unpack_zip(paths[0])
    _require_all_parts(archive, root)
    return _unpack_tar(paths, archive)


def _unpack_zip(path: Path) -> Iterator[Path]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            for member in members:
                kind = member.external_attr >> 16 & 0o170000
                if kind not in (0, 0o100000):
                    raise DataError(f"{path}: {member.filename!r} is no file but a link or a device; unpack it by hand")
                if member.flag_bits & 1:
                    raise DataError(f"{path}: {member.filename!r} is encrypted; unpack it by hand")
                _target(path.parent, member.filename, path)
            new = [member for member in members if not (path.parent / member.filename).exists()]
            _require_room(path.parent, sum(member.file_size for member in new), path)
            for member in members:
                with archive.open(member) as source:
                    yield _write(source, member.file_size, _target(path.parent, member.filename, path), path)
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        NotImplementedError,
        EOFError,
        OSError,
        ValueError,
    ) as error:
        raise _damaged(path, error) from error


def _unpack_tar(paths: Sequence[Path], archive: Archive) -> Iterator[Path]:
    folder = paths[0].parent
    try:
        with _Joined(paths) as joined, tarfile.open(fileobj=joined, mode="r|*") as tar:
            for member in tar:
                if member.isdir():
                    continue
                if not member.isreg():
                    raise DataError(f"{paths[0]}: {member.name!r} is no file but a link or a device; unpack it by hand")
                target = _target(folder, member.name, paths[0])
                if not target.exists():
                    _require_room(folder, member.size, paths[0])
                source = tar.extractfile(member)
                assert source is not None
                yield _write(source, member.size, target, paths[0])
            _require_end(tar, paths[0])
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise _damaged(paths[0], error) from error


def _require_end(tar: tarfile.TarFile, path: Path) -> None:
    """Only zeros follow the last member; tarfile itself takes rubbish in the middle for the end."""
    stream: Any = tar.fileobj
    while chunk := stream.read(_CHUNK):
        if chunk.strip(b"\0"):
            raise DataError(f"{path}: not a whole tar, something else follows a member; download it again")


def _damaged(path: Path, error: Exception) -> Exception:
    if isinstance(error, OSError) and error.errno is not None:
        return DataError(f"{path}: cannot be unpacked ({error.strerror}: {error.filename or path})")
    return DataError(f"{path}: not an archive that can be read ({error}); download it again")


def _target(folder: Path, name: str, archive: Path) -> Path:
    try:
        if os.path.isabs(name) or ".." in Path(name).parts or "\\" in name:
            raise OutsideRoot(f"{name!r} leads out of {folder}")
        return contained(folder, name)
    except OutsideRoot as error:
        raise DataError(
            f"{archive}: its member {error}; nobody packs videos like that, so download it again"
        ) from error


def _require_room(folder: Path, size: int, archive: Path) -> None:
    free = shutil.disk_usage(folder).free
    if size + _SPARE > free:
        raise DataError(f"{archive}: {size:,} bytes are to be unpacked and the disk has {free:,} free; make room")


def _write(source: Any, size: int, target: Path, archive: Path) -> Path:
    if target.exists():
        if not _equal(source, size, target):
            raise DataError(
                f"{target}: is there already and differs from what {archive} holds; move one of them, or both stay"
            )
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target.parent, glob.escape(target.name))  # of a run that was killed at this one
    with atomic_open(target, sync=False) as file:
        shutil.copyfileobj(source, file, _CHUNK)
    return target


def _equal(source: Any, size: int, target: Path) -> bool:
    if not target.is_file() or target.stat().st_size != size:
        return False
    with target.open("rb") as file:
        while chunk := source.read(_CHUNK):
            if file.read(len(chunk)) != chunk:
                return False
        return not file.read(1)


def _require_all_parts(archive: Archive, root: Path) -> None:
    """Parts are numbered or lettered one after the other; what one would leave out is no error to a tar."""
    if archive.parts == (archive.name,):
        return
    matches = [_PART.fullmatch(part) for part in archive.parts]
    counts = [_place(match["part"]) for match in matches if match is not None]
    if len(counts) != len(archive.parts):
        raise DataError(f"{root / archive.name}: is there whole and in parts; move the parts away, or the whole")
    first = 1 if archive.parts[0][-1].isdigit() else 0
    if counts[0] > first or any(after != before + 1 for before, after in pairwise(counts)):
        raise DataError(f"{root / archive.name}: a part is missing among {', '.join(archive.parts)}; download it")


def _place(part: str) -> int:
    if part.isdigit():
        return int(part)
    place = 0
    for letter in part.lower():
        place = place * 26 + ord(letter) - ord("a")
    return place


class _Joined(io.RawIOBase):
    """Files read one after the other, as one."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._left = list(paths)
        self._file: BinaryIO | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            if self._file is None:
                if not self._left:
                    return 0
                self._file = self._left.pop(0).open("rb")
            count = self._file.readinto(buffer)  # type: ignore[attr-defined]
            if count:
                return int(count)
            self._file.close()
            self._file = None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        super().close()
