"""Training checkpoints that are whole, unchanged and free of code, or refused by name."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import shutil
import struct
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from liteframe.errors import CheckpointError
from liteframe.system.atomic import atomic_open, disk_fault, remove_leftovers

_BLOCK_BYTES = 1 << 22
_VERSION = b"pytorch-lightning_version"
_MOST_VALUE_BYTES = 1 << 28
_END_OF_ZIP = b"PK\x05\x06"
_END_BYTES = 22
_LABEL = b"liteframe sha256 "
_COMMENT_BYTES = len(_LABEL) + 64
_PARTS: dict[str, type] = {"state_dict": dict, "loops": dict, "optimizer_states": list, "lr_schedulers": list}
_PARTS |= {"callbacks": dict, "global_step": int, "epoch": int}


_one_at_a_time = threading.RLock()
"""A run that is ended may be saved from another thread, just when it saves by itself."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, flushes to disk, then renames; reads nothing that could run code or has changed.

    Lightning's own way writes into the system's folder for temporary files and copies from there where that is another
    disk; killed in the copy, it leaves half a ``last.ckpt``. The sha256 of the file is in its zip comment, where any
    other reader of torch's format looks past it.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Saves ``checkpoint`` at ``path`` and keeps the one that was there as ``previous.ckpt``.

        Raises:
            CheckpointError: the file cannot be written; what was there before is kept.
        """
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        target = Path(path)
        with _one_at_a_time:
            self._save(checkpoint, target)

    def _save(self, checkpoint: dict[str, Any], target: Path) -> None:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(target.parent, target.name)
            with atomic_open(target) as file:
                torch.save(checkpoint, file)
                _seal(file)
                if target.is_file():
                    _keep_previous(target)
        except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
            kept = "; the checkpoint before it is kept, and --ckpt_path last goes on from there" * target.is_file()
            raise CheckpointError(
                f"{target}: cannot be written ({disk_fault(error) or _first_line(error)}); free some space, or take"
                f" another --trainer.default_root_dir{kept}"
            ) from error

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., Any] | None = lambda storage, _: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """The checkpoint at ``path``, read with ``weights_only`` whatever is asked for.

        Raises:
            CheckpointError: not a file, damaged, or holding more than tensors and plain values.
        """
        return read_checkpoint(path, map_location)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Removes a checkpoint that liteframe wrote; anything else that a checkpoint's state may name stays."""
        file = Path(path)
        if ".." not in file.parts and file.is_file() and not file.is_symlink() and seal_of(file) is not None:
            file.unlink()


def read_checkpoint(path: str | Path, map_location: Any = "cpu", mmap: bool = False) -> dict[str, Any]:
    """A checkpoint of Lightning's on this machine, checked as a whole before anything in it is looked at.

    Args:
        path: a file; not a folder, not a URL.
        map_location: as `torch.load`.
        mmap: leave the tensors on disk.

    Raises:
        CheckpointError: see `AtomicCheckpointIO.load_checkpoint`.
    """
    require_checkpoint_file(path)
    file = Path(path)
    _require_unchanged(file)
    try:
        checkpoint = torch.load(file, map_location=map_location, weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: holds more than tensors and plain values ({_first_line(error)}), and code in it is never run;"
            " only checkpoints that liteframe wrote can be gone on from"
        ) from error
    except Exception as error:  # of a damaged file torch raises whatever its parts raise
        raise _damaged(file, _first_line(error)) from error
    parts = {"state_dict": None, **checkpoint} if isinstance(checkpoint, dict) else {"state_dict": None}
    for name, kind in _PARTS.items():
        if name in parts and not isinstance(parts[name], kind):
            raise CheckpointError(f"{path}: no checkpoint of a training run: its {name} is missing or of another kind")
    return parts


def is_run_checkpoint(path: Path) -> bool:
    """Whether a file is a checkpoint that liteframe or Lightning wrote, by its end and its names; nothing is loaded."""
    if seal_of(path) is not None:
        return True
    try:
        with zipfile.ZipFile(path) as parts:
            values = next(part for part in parts.infolist() if part.filename.endswith("data.pkl"))
            return values.file_size < _MOST_VALUE_BYTES and _VERSION in parts.read(values)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError, StopIteration):
        return False


def require_checkpoint_file(path: str | Path) -> None:
    """Raises CheckpointError where ``path`` is not a file on this machine, as folders and URLs are read by pickle."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", str(path)):
        raise CheckpointError(f"--ckpt_path {path}: checkpoints are not fetched; download it, and give the file")
    if Path(path).is_dir():
        raise CheckpointError(
            f"--ckpt_path {path}: is a folder; distributed checkpoints are not read, because their `.metadata` can run"
            " code. Give a file that liteframe wrote, such as checkpoints/last.ckpt"
        )
    if not Path(path).is_file():
        raise CheckpointError(f"--ckpt_path {path}: no such file; give a checkpoint, or `last` for the run's own")


def _seal(file: BinaryIO) -> None:
    """Writes the sha256 of all bytes so far into the comment that ends a zip file."""
    size = file.seek(0, os.SEEK_END)
    file.seek(size - _END_BYTES)
    if file.read(len(_END_OF_ZIP)) != _END_OF_ZIP:
        raise RuntimeError("torch wrote a checkpoint that does not end as a zip file does")
    comment_size = struct.pack("<H", _COMMENT_BYTES)
    file.seek(size - len(comment_size))
    file.write(comment_size)
    digest = _sha256(file, size)
    file.seek(size)
    file.write(_LABEL + digest)


def _sha256(file: BinaryIO, size: int) -> bytes:
    digest = hashlib.sha256()
    file.seek(0)
    while size and (block := file.read(min(size, _BLOCK_BYTES))):
        digest.update(block)
        size -= len(block)
    return digest.hexdigest().encode()


def _require_unchanged(path: Path) -> None:
    """Compares the file with its seal, or, where it has none, its parts with the CRC-32 that zip files keep."""
    if seal := seal_of(path):
        with open(path, "rb") as file:
            if _sha256(file, path.stat().st_size - _COMMENT_BYTES) != seal:
                raise _damaged(path, "its bytes have changed since it was written")
        return
    try:
        with zipfile.ZipFile(path) as parts:
            if parts.comment:
                raise _damaged(path, "its checksum has changed")
            if any(part.compress_type != zipfile.ZIP_STORED for part in parts.infolist()):
                raise _damaged(path, "its parts are compressed, which torch never does")
            broken = parts.testzip()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
        raise _damaged(path, _first_line(error)) from error
    if broken:
        raise _damaged(path, f"its part {broken} has changed")


def seal_of(path: str | Path) -> bytes | None:
    """The sha256 that is written at the end of the file; None where there is none."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _COMMENT_BYTES))
        tail = file.read()
    return tail[len(_LABEL) :] if tail.startswith(_LABEL) else None


def _keep_previous(target: Path) -> None:
    """One more name for the old file, so that replacing it does not lose it."""
    kept = target.with_name("previous.ckpt")
    if kept.exists() and (kept.is_symlink() or seal_of(kept) is None):
        return  # not ours to replace
    link = target.with_name(f".{kept.name}.{os.urandom(8).hex()}.part")
    try:
        os.link(target, link)
    except OSError:  # a file system without links
        shutil.copyfile(target, link)
    os.replace(link, kept)


def _damaged(path: Path, reason: str) -> CheckpointError:
    previous = path.with_name("previous.ckpt")
    other = f"--ckpt_path {previous}" if previous.is_file() and previous != path else "an older checkpoint, or anew"
    return CheckpointError(f"{path}: damaged ({reason}); go on from {other}")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
