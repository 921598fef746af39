"""Feature stores, finished and unfinished: what is read from them, and what a resumed run makes of them."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

import torch

from fuzz.mutate import damage_file, mutate_tree, to_json
from fuzz.outcome import Input, Verdict
from liteframe.data.store.feature_store import FeatureStore, StoreKey
from liteframe.data.store.writer import FeatureStoreWriter, finalize

_SAMPLES, _SHAPE = 8, (2, 2, 2, 16)
_SHARD_MB = 3 * 2 * 2 * 2 * 16 * 2 / 1e6
_KEY = StoreKey(
    teacher={"class": "InternVLTeacher", "sha256": "0" * 64},
    compressor={"compressor": "wap", "block": [4, 2, 2], "saliency": "class_token"},
    geometry={"image_size": [56, 56], "patch_size": 14},
    sampling={"sampler": "UniformMidpoints", "frames": 8, "windows": 1, "seed": 0},
    decoder="auto",
    dtype="bfloat16",
    data="d" * 64,
    frames=True,
)


def _sample(number: int) -> tuple[str, torch.Tensor, dict[str, Any], torch.Tensor]:
    generator = torch.Generator().manual_seed(number)
    targets = torch.randn(_SHAPE, generator=generator).bfloat16()
    frames = torch.randint(0, 256, (8, 3, 4, 4), generator=generator, dtype=torch.uint8)
    entry = {"path": f"/v/{number}.mp4", "frame_indices": list(range(8)), "valid_frames": 8, "order": number}
    return f"s{number}", targets, {**entry, "decoder": "pyav"}, frames


class Stores:
    """Opens a finished store and reads it all, or goes on with an unfinished one and reads what that makes."""

    share, deadline_s = 24, 20.0

    def __init__(self, seeds: Path) -> None:
        self.seeds, self.names = seeds, []

    def prepare(self) -> None:
        for name in ("finished", "parts", "cut"):
            folder = self.seeds / name
            for rank in (0, 1):
                with FeatureStoreWriter(folder, _KEY, rank, 2, 1e-9, store_frames=True) as writer:
                    for number in range(rank, _SAMPLES if name != "parts" else _SAMPLES - 2, 2):
                        writer.add(*_sample(number))
                    if rank == 0:
                        writer.add_skipped({"path": "/v/bad.mp4", "id": "bad", "reason": "broken"})
            if name != "parts":
                shutil.copytree(folder / "parts", self.seeds / "parts_of_all", dirs_exist_ok=True)
                finalize(folder, _KEY, _SHARD_MB)
        for name in ("COMPLETE", "statistics.safetensors"):  # as killed between the last two steps
            (self.seeds / "cut" / name).unlink()

    def make(self, rng: random.Random, folder: Path) -> Input:
        seed = rng.choice(("finished", "finished", "parts", "cut"))
        path = folder / "store"
        shutil.copytree(self.seeds / seed, path)
        files = sorted(file for file in path.rglob("*") if file.is_file())
        what, intact, told = [], rng.random() < 0.02, True
        for _ in range(0 if intact else rng.choice((1, 1, 1, 2))):
            if rng.random() < 0.45 and (texts := [file for file in files if _is_json(file)]):
                file = rng.choice(texts)
                change = self._rewrite(rng, file)
                if rng.random() < 0.6 and seed == "finished":  # as somebody would who means it
                    told = not _seal(path)
            else:
                file = rng.choice(_plain(files))
                change = _damage(rng, file, _plain(files), self.names)
            what.append(change)
        return Input(f"{seed}: {'; '.join(what)}", path, {"seed": seed, "told": told}, intact)

    def _rewrite(self, rng: random.Random, file: Path) -> str:
        value = json.loads(file.read_bytes())
        if file.name == "COMPLETE" or rng.random() < 0.4:
            changed, how = mutate_tree(rng, value, self.names)
        else:
            changed, how = _name_another(rng, value, self.names)
        head = file.name == "index.json" and isinstance(changed, dict) and isinstance(changed.get("entries"), list)
        file.write_text(_index_text(changed) if head else to_json(changed))
        return f"{file.name}: {how}"

    def feed(self, item: Input) -> Verdict:
        verify = "full" if len(item.what) % 2 else "sizes"
        if item.data["seed"] == "finished":
            return self._compare(FeatureStore.open(item.path, verify=verify), item)
        ids = [f"s{number}" for number in range(_SAMPLES)]
        with FeatureStoreWriter(item.path, _KEY, shard_mb=1e-9, store_frames=True) as writer:
            done = writer.done_ids()
            for number in range(_SAMPLES):
                if f"s{number}" not in done:
                    writer.add(*_sample(number))
        return self._compare(finalize(item.path, _KEY, _SHARD_MB, ids), item)

    @staticmethod
    def _compare(store: FeatureStore, item: Input) -> Verdict:
        """Everything that the store gives against what was put in; where a text was sealed again, nobody can tell."""
        found = store.sample_ids()
        given = [(store.entry(index), store.targets(index), store.frames(index)) for index in range(len(found))]
        mean_C, std_C = store.statistics
        if not item.data["told"]:
            return Verdict("right")
        samples = [_sample(number) for number in range(_SAMPLES)]
        if found != [sample_id for sample_id, *_ in samples]:
            return Verdict("silent", f"other samples: {found}")
        for (entry, targets, frames), (sample_id, true_targets, record, true_frames) in zip(
            given, samples, strict=True
        ):
            if targets.shape != true_targets.shape or not torch.equal(
                targets.view(torch.int16), true_targets.view(torch.int16)
            ):
                return Verdict("silent", f"other targets: {sample_id}")
            if frames is None or not torch.equal(frames, true_frames):
                return Verdict("silent", f"other frames: {sample_id}")
            if {name: entry.get(name) for name in record} != record:
                return Verdict("silent", f"another entry: {sample_id} {entry}")
        true_NC = torch.stack([targets for _, targets, _, _ in samples]).double().reshape(-1, _SHAPE[-1])
        same = torch.allclose(mean_C.double(), true_NC.mean(0), atol=1e-5)
        if not same or not torch.allclose(std_C.double(), true_NC.std(0, correction=0), atol=1e-5):
            return Verdict("silent", "other statistics")
        return Verdict("right")


def _plain(files: list[Path]) -> list[Path]:
    return [file for file in files if file.is_file() and not file.is_symlink()]


def _is_json(file: Path) -> bool:
    if not _plain([file]) or file.suffix == ".safetensors":
        return False
    try:
        json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return False
    return True


def _damage(rng: random.Random, file: Path, files: list[Path], names: list[Any]) -> str:
    how = rng.choice(("bytes",) * 8 + ("gone", "link", "exchange", "folder"))
    other = rng.choice(files)
    if how == "gone":
        file.unlink()
    elif how == "link":
        file.unlink()
        file.symlink_to(rng.choice([name for name in names if name.startswith("/")] or ["/dev/null"]))
    elif how == "folder":
        file.unlink()
        file.mkdir()
    elif how == "exchange":
        one, two = file.read_bytes(), other.read_bytes()
        file.write_bytes(two)
        other.write_bytes(one)
    else:
        return damage_file(rng, file, files)
    return f"{how} {file.name}"


def _name_another(rng: random.Random, value: Any, names: list[Any]) -> tuple[Any, str]:
    """Another file, place or size of a shard or tensor, or a decoder of an entry; any change where there is none."""
    try:
        return _name_another_of_ours(rng, value, names)
    except (LookupError, TypeError):  # what was changed before has no such fields any more
        return mutate_tree(rng, value, names)


def _name_another_of_ours(rng: random.Random, value: Any, names: list[Any]) -> tuple[Any, str]:
    entries = value.get("entries") if isinstance(value, dict) else None
    shards = value.get("shards") if isinstance(value, dict) else None
    choice = rng.random()
    if isinstance(shards, list) and shards and choice < 0.3:
        shard = rng.choice(shards)
        shard["file"] = rng.choice([*names, rng.choice(shards)["file"]])
        return value, f"file {shard['file']}"
    if isinstance(entries, list) and entries and choice < 0.9:
        entry, other = rng.choice(entries), rng.choice(entries)
        field = rng.choice(("targets", "frames", "decoder", "path", "exchange", "id"))
        if field == "exchange":
            entry["targets"], other["targets"] = other["targets"], entry["targets"]
        elif field in ("targets", "frames"):
            number = rng.choice((0, 1, 2, 3))
            entry[field][number] = rng.choice(("F32", [10**6] * 4, [-1, 2], [], 10**12, -1, 0, 8, entry[field][number]))
        elif field == "id":
            entry["id"] = rng.choice([*names, other["id"]])
        else:
            entry["record"][field] = rng.choice(names)
        return value, f"{field} of an entry"
    if isinstance(value, dict) and "shard" in value:
        value["shard"] = rng.choice(names)
        return value, f"shard {value['shard']}"
    return mutate_tree(rng, value, names)


def _index_text(value: dict[str, Any]) -> str:
    """As the store writes it: the head in the first line, then one entry a line."""
    head = to_json({name: part for name, part in value.items() if name != "entries"})
    return head[:-1] + ',"entries":[\n' + ",\n".join(to_json(entry) for entry in value["entries"]) + "\n]}\n"


def _seal(folder: Path) -> bool:
    """Writes sizes and sums of the files anew into COMPLETE; whether that was possible."""
    marks = {}
    for name in ("index.json", "statistics.safetensors"):
        if not (folder / name).is_file():
            return False
        data = (folder / name).read_bytes()
        marks[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    if not (folder / "COMPLETE").is_file() or (folder / "COMPLETE").is_symlink():  # what it leads to is not ours
        return False
    (folder / "COMPLETE").write_text(json.dumps(marks))
    return True
