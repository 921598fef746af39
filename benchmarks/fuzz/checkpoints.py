"""Training checkpoints: `last.ckpt` as Lightning writes it through the command's checkpoint IO."""

from __future__ import annotations

import io
import pickle
import random
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader

from fuzz.mutate import damage_file
from fuzz.outcome import Input, Verdict
from liteframe.system.checkpoint_io import AtomicCheckpointIO

_HOSTILE = ("pickle in zip", "plain pickle", "legacy", "address", "folder", "link")


class _Call:
    """Pickles to a call of a function by name."""

    def __init__(self, function: Any, *args: Any) -> None:
        self._call = (function, args)

    def __reduce__(self) -> Any:
        return self._call


class _Small(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(12, 16), nn.BatchNorm1d(16), nn.Linear(16, 4))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.net(batch).square().mean()

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters())
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 3)]


class Checkpoints:
    """Loads a checkpoint as `--ckpt_path` does; it must be what was saved, to the bit."""

    share, deadline_s = 14, 20.0

    def __init__(self, seeds: Path) -> None:
        self.seeds, self.names = seeds, []
        self._truth: Any = None

    def prepare(self) -> None:
        quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False)
        trainer = Trainer(
            accelerator="cpu", max_steps=5, enable_checkpointing=False, default_root_dir=self.seeds, **quiet
        )
        trainer.strategy.checkpoint_io = AtomicCheckpointIO()
        torch.manual_seed(0)
        trainer.fit(_Small(), DataLoader(torch.randn(20, 12), batch_size=4))
        trainer.save_checkpoint(self.seeds / "last.ckpt")
        for path in self.seeds.iterdir():
            if not path.name.startswith("last"):
                shutil.rmtree(path)

    def make(self, rng: random.Random, folder: Path) -> Input:
        for file in self.seeds.iterdir():
            (shutil.copytree if file.is_dir() else shutil.copyfile)(file, folder / file.name)
        path, kind = folder / "last.ckpt", rng.random()
        if kind < 0.02:
            return Input("intact", path, intact=True)
        if kind < 0.2:
            return self._hostile(rng, path, rng.choice(_HOSTILE))
        if kind < 0.3:
            sealed = rng.random() < 0.5
            return Input(f"member: {_damage_member(rng, path, sealed)}", path, {"told": sealed})
        files = sorted(file for file in folder.iterdir() if file.is_file())
        what = damage_file(rng, path if kind < 0.9 else rng.choice(files), [self.seeds / "last.ckpt"])
        return Input(what, path)

    def _hostile(self, rng: random.Random, path: Path, how: str) -> Input:
        """What would run code, if it were loaded as a pickle."""
        import os

        touch = next((name for name in self.names if str(name).startswith("touch ")), "true")
        call = rng.choice((_Call(os.system, touch), _Call(eval, "__import__('fuzz_canary')"), _Call(exec, "1")))
        target: Any = path
        if how == "pickle in zip":
            _replace_member(path, "data.pkl", pickle.dumps({"state_dict": {}, "x": call}, protocol=2))
        elif how == "plain pickle":
            path.write_bytes(pickle.dumps({"state_dict": call}))
        elif how == "legacy":
            buffer = io.BytesIO()
            torch.save({"state_dict": {}, "x": call}, buffer, _use_new_zipfile_serialization=False)
            path.write_bytes(buffer.getvalue())
        elif how == "address":
            target = rng.choice([name for name in self.names if "://" in str(name)] or ["http://127.0.0.1:1/x.ckpt"])
        elif how == "folder":
            path.unlink()
            path.mkdir()
            (path / ".metadata").write_bytes(pickle.dumps(call))
            (path / "meta.pt").write_bytes(pickle.dumps(call))
        else:
            path.unlink()
            path.symlink_to(rng.choice([name for name in self.names if str(name).startswith("/")] or ["/dev/null"]))
        return Input(
            f"{how} {target if how == 'address' else ''}",
            target,
            {"address": how == "address"},
            refuse=None if how == "link" else "code",
        )

    def feed(self, item: Input) -> Verdict:
        loaded = AtomicCheckpointIO().load_checkpoint(item.path)
        if self._truth is None:
            self._truth = torch.load(self.seeds / "last.ckpt", weights_only=True)
        odd = _difference(self._truth, loaded, "")
        if odd and not item.data.get("told", True):
            return Verdict("undetectable", odd)  # made anew by somebody who took the seal off
        return Verdict("silent", f"another value: {odd}") if odd else Verdict("right")


def _damage_member(rng: random.Random, path: Path, sealed: bool) -> str:
    """Damages one file of the archive and writes its CRC-32 anew; `sealed` keeps the archive's comment."""
    with zipfile.ZipFile(path) as archive:
        name = rng.choice([info.filename for info in archive.infolist() if info.file_size])
        data = bytearray(archive.read(name))
    for _ in range(rng.choice((1, 1, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    _replace_member(path, name, bytes(data), sealed)
    return name


def _replace_member(path: Path, name: str, data: bytes, sealed: bool = False) -> None:
    with zipfile.ZipFile(path) as archive:
        comment = archive.comment
        members = {info.filename: archive.read(info.filename) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, data if member.endswith(name) else content)
        archive.comment = comment if sealed else b""


def _difference(truth: Any, found: Any, place: str) -> str:
    """Where two trees differ first, or nothing; tensors by their bytes."""
    if isinstance(truth, torch.Tensor):
        if not isinstance(found, torch.Tensor) or (truth.dtype, truth.shape) != (found.dtype, found.shape):
            return place
        same = torch.equal(truth.reshape(-1).view(torch.uint8), found.reshape(-1).view(torch.uint8))
        return "" if same else place
    if isinstance(truth, dict):
        if not isinstance(found, dict) or set(truth) != set(found):
            return f"{place} (keys)"
        return next((odd for key in truth if (odd := _difference(truth[key], found[key], f"{place}.{key}"))), "")
    if isinstance(truth, list | tuple):
        if type(truth) is not type(found) or len(truth) != len(found):
            return place
        pairs = enumerate(zip(truth, found, strict=True))
        return next((odd for i, pair in pairs if (odd := _difference(*pair, f"{place}[{i}]"))), "")
    return "" if type(truth) is type(found) and repr(truth) == repr(found) else place
