"""Names out of files that nobody vouches for, held to the folder that they are relative to."""

from __future__ import annotations

import os
from pathlib import Path

_HUB_KINDS = ("models--", "datasets--")


class OutsideRoot(ValueError):
    """A name leads out of its folder; the text says how."""


def contained(root: str | os.PathLike[str], name: str) -> Path:
    """The path of `name` below the folder `root`, links followed on both sides.

    An absolute name is good if it lies below `root`. What does not exist is judged by its name.

    Raises:
        OutsideRoot: `..`, an absolute name or a link leads out of `root`, or `name` is no name of a file.
    """
    if not name or "\0" in name:
        raise OutsideRoot(f"{name!r} is no name of a file")
    path = os.path.normpath(os.path.join(os.path.abspath(root), name))
    try:
        real_root, real = os.path.realpath(root), os.path.realpath(path)
    except (OSError, ValueError) as error:
        raise OutsideRoot(f"{name[:60]!r} is no name of a file") from error
    if not _below(path, os.path.abspath(root)) and not _below(real, real_root):
        raise OutsideRoot(f"{name!r} leads out of {os.fspath(root)}")
    if not _below(real, real_root):
        raise OutsideRoot(f"{name!r} is a link that leads out of {os.fspath(root)}, to {real}")
    return Path(path)


def in_hub_blobs(folder: str | os.PathLike[str], name: str) -> bool:
    """Whether `name` is a link of the Hugging Face cache, from `KIND--*/snapshots/REVISION` into `KIND--*/blobs`."""
    root = Path(os.path.abspath(folder))
    path = Path(os.path.normpath(root / name))
    if not path.is_relative_to(root):
        return False
    for parent in path.parents:
        repository = parent.parent.parent
        if parent.parent.name == "snapshots" and repository.name.startswith(_HUB_KINDS):
            return Path(os.path.realpath(path)).parent == Path(os.path.realpath(repository)) / "blobs"
    return False


def _below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)
