"""Checkpoints that are whole or absent, however the process ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from liteframe.atomic import atomic_open, remove_leftovers


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, flushes to disk, then renames.

    Lightning's own way writes into the system's folder for temporary files and copies from there where that is another
    disk; killed in the copy, it leaves half a ``last.ckpt``. Addresses of object stores go Lightning's way.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Saves ``checkpoint`` at ``path``; a failure leaves what was there before."""
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target.parent, target.name)
        with atomic_open(target) as file:
            torch.save(checkpoint, file)
