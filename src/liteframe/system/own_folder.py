"""Folders that liteframe writes whole, replaces whole, and can tell from anybody else's.

Each holds `liteframe-files.json`, which lists its files with size and sha256. By it a later run knows that it may
replace the folder, and whoever loads from it that nothing has changed since. What is not listed there is never deleted.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from liteframe.errors import ConfigError
from liteframe.system.atomic import atomic_write_json, disk_fault, give_usual_modes
from liteframe.system.bounded_text import parse_json
from liteframe.system.runtime import try_lock

LISTING = "liteframe-files.json"
_BLOCK_BYTES = 1 << 22


def require_replaceable(target: str | os.PathLike[str]) -> None:
    """To be called before the work whose result goes to `target`.

    Raises:
        ConfigError: it holds anything that liteframe did not write, or nothing can be written there.
    """
    folder = Path(target).resolve()
    advice = "give another folder, or move this one away"
    _require_writable(folder.parent, target)
    if not folder.exists():
        return
    if os.path.ismount(folder):
        raise ConfigError(f"{target}: a volume is mounted there, which cannot be replaced; give a folder inside it")
    require_place(target)
    inside = [path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()]
    if not inside:
        return
    listed = _listing(folder)
    if listed is None:
        raise ConfigError(f"{target}: is not empty, and liteframe did not write it (no {LISTING}); {advice}")
    foreign = sorted(str(path.relative_to(folder)) for path in inside if not _is_listed(path, folder, listed))
    if foreign:
        raise ConfigError(f"{target}: liteframe wrote it, but not {foreign[0]} in it; {advice}")


def require_place(target: str | os.PathLike[str]) -> None:
    """Raises ConfigError where `target` cannot be a folder to write in, whatever it holds; changes nothing."""
    folder = Path(target).resolve()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(
            f"{target}: is a file, and a folder is to be written there; give another folder, or move it away"
        )
    _require_writable(folder, target)


def _require_writable(folder: Path, target: str | os.PathLike[str]) -> None:
    above = next(path for path in (folder, *folder.parents) if path.exists())
    if not above.is_dir():
        raise ConfigError(f"{target}: nothing can be written in {above}, which is a file; give another folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ConfigError(f"{target}: nothing can be written in {above}; give another folder")


@contextmanager
def replace_folder(target: str | os.PathLike[str]) -> Iterator[Path]:
    """An empty folder to write into, which takes the place of `target` when the body ends; both are never half there.

    After an error in the body, or a kill at any moment, `target` is as it was, or is put back by the next call.

    Raises:
        ConfigError: `target` holds what liteframe did not write, or the folder cannot be written (disk full, no
            permission).
    """
    folder = Path(target).resolve()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _recover(folder)
        require_replaceable(folder)
        part = _beside(folder, "part")
        part.mkdir()
        try:
            with _held(part):
                atomic_write_json(part / LISTING, {"unfinished": True})
                yield part
                give_usual_modes(part)
                list_files(part)
                _swap(part, folder)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    except Exception as error:
        reason = disk_fault(error) or (isinstance(error, OSError) and (error.strerror or str(error)))
        if not reason:
            raise
        raise ConfigError(
            f"{target}: cannot be written ({reason}); free some space or give another folder;"
            " what was there before is kept"
        ) from error


def list_files(folder: str | os.PathLike[str]) -> None:
    """Writes the listing of all files in `folder`, after flushing each to disk."""
    root = Path(folder)
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.name != LISTING)
    listed = {path.relative_to(root).as_posix(): _measure(path, flush=True) for path in files}
    atomic_write_json(root / LISTING, {"written_by": "liteframe", "files": listed})


def require_unchanged(folder: str | os.PathLike[str]) -> None:
    """Compares the files of `folder` with its listing; folders without one are not ours to judge.

    A README may be edited. Raises ConfigError, naming the file, if another one is missing or has changed.
    """
    root = Path(folder)
    for name, wanted in (_listing(root) or {}).items():
        path = root / name
        if path.suffix.lower() == ".md":
            continue
        if not path.is_file():
            raise ConfigError(f"{path}: missing; {LISTING} beside it lists it: copy the whole folder again")
        if _size(path) != wanted.get("bytes") or _measure(path)["sha256"] != wanted.get("sha256"):
            raise ConfigError(
                f"{path}: changed since liteframe wrote it; copy or export it again"
                f" (if you changed it on purpose, remove {root / LISTING})"
            )


def _listing(folder: Path) -> dict[str, dict[str, Any]] | None:
    """Files of the listing; None where there is none, or one that liteframe did not write."""
    path = folder / LISTING
    if not path.is_file():
        return None
    content = parse_json(path.read_bytes(), str(path))
    files = (
        content.get("files", {} if content.get("unfinished") is True else None) if isinstance(content, dict) else None
    )
    if not isinstance(files, dict) or not all(_is_inner(name) and isinstance(row, dict) for name, row in files.items()):
        raise ConfigError(f"{path}: damaged, or not written by liteframe; copy or export the folder again")
    return files


def _is_inner(name: str) -> bool:
    return not os.path.isabs(name) and ".." not in Path(name).parts


def _is_listed(path: Path, folder: Path, listed: dict[str, Any]) -> bool:
    name = path.relative_to(folder).as_posix()
    return not path.is_symlink() and (name == LISTING or name in listed)


def _size(path: Path) -> int:
    return path.stat().st_size


def _measure(path: Path, flush: bool = False) -> dict[str, Any]:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
        if flush:
            os.fsync(file.fileno())
    return {"bytes": _size(path), "sha256": digest.hexdigest()}


def _beside(folder: Path, kind: str) -> Path:
    return folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.{kind}")


def _swap(part: Path, folder: Path) -> None:
    if folder.exists():
        require_replaceable(folder)  # once more: the work may have taken days
        old = _beside(folder, "old")
        folder.rename(old)
        part.rename(folder)
        _remove_own(old)
    else:
        part.rename(folder)


def _recover(folder: Path) -> None:
    """Puts back a folder that a kill caught between two renamings, and removes what killed writers left."""
    for kind in ("old", "part"):
        pattern = re.compile(rf"\.{re.escape(folder.name)}\.[0-9a-f]{{16}}\.{kind}")
        for path in sorted(folder.parent.iterdir()):
            if pattern.fullmatch(path.name) and _is_left_over(path, kind):
                if kind == "old" and not folder.exists():
                    path.rename(folder)
                elif kind == "old":
                    _remove_own(path)
                else:
                    shutil.rmtree(path, ignore_errors=True)


def _is_left_over(path: Path, kind: str) -> bool:
    """Whether a folder with such a name is ours alone, and nobody is writing it now."""
    if path.is_symlink() or not path.is_dir() or not (path / LISTING).is_file():
        return False
    try:
        if kind == "old":
            require_replaceable(path)
        with _held(path) as free:
            return free
    except ConfigError:
        return False


@contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Keeps other writers off a folder in the body; whether none had it."""
    if os.name == "nt":
        yield True
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield try_lock(handle)
    finally:
        os.close(handle)


def _remove_own(folder: Path) -> None:
    """Removes the listed files and the folders that are empty then."""
    for name in [*(_listing(folder) or {}), LISTING]:
        (folder / name).unlink(missing_ok=True)
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        _remove_empty(path)
    _remove_empty(folder)


def _remove_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()


def is_own(folder: str | os.PathLike[str]) -> bool:
    """Whether liteframe wrote this folder."""
    return (Path(folder) / LISTING).is_file()


def is_foreign(folder: str | os.PathLike[str], name: str) -> bool:
    """Whether a file lies in a folder that liteframe wrote, and is not in its listing."""
    listed = _listing(Path(folder))
    return bool(listed) and name not in (listed or {})


def read_listed(folder: str | os.PathLike[str], name: str) -> bytes:
    """The content of a file, if it is the one that the listing names.

    Raises:
        ConfigError: it is missing, not listed, or has changed.
    """
    path = Path(folder) / name
    wanted = (_listing(Path(folder)) or {}).get(name, {}).get("sha256")
    if wanted is None or path.is_symlink() or not path.is_file():
        raise ConfigError(f"{path}: missing, or not in {LISTING}, which lists what liteframe wrote; export it again")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != wanted:
        raise ConfigError(f"{path}: changed since liteframe wrote it; copy or export it again")
    return content


def listing_sha256(folder: str | os.PathLike[str]) -> str | None:
    """The sha256 of a folder's listing, which stands for all of its files; None for a folder without one."""
    return _measure(Path(folder) / LISTING)["sha256"] if is_own(folder) else None


def drop_listing(folder: str | os.PathLike[str]) -> None:
    """Takes the listing away from a folder that somebody is about to write into by other means.

    The mark of a folder that `replace_folder` is still writing stays.
    """
    if is_own(folder) and _listing(Path(folder)):
        (Path(folder) / LISTING).unlink()
