"""Stores that somebody made up: whatever is in them, only StoreErrors come of it, soon and with little memory."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from test_feature_store import IDS, SHARD_MB, make, make_key, write

from liteframe.data.store.feature_store import FeatureStore, read_key
from liteframe.data.store.sealed_json import canonical_json, sealed, unseal
from liteframe.data.store.writer import FeatureStoreWriter, finalize
from liteframe.errors import StoreError

HUGE = 10**12
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("straight") / "store"
    make(folder, flush_seconds=1000)
    return folder


@pytest.fixture
def store(straight: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(straight, tmp_path / "store"))


def mark(folder: Path) -> None:
    """COMPLETE, as it is right for the index and the statistics that are there now."""
    marks = {
        name: {
            "bytes": (folder / name).stat().st_size,
            "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(),
        }
        for name in ("index.json", "statistics.safetensors")
    }
    (folder / "COMPLETE").write_bytes(sealed(marks))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes the index, in the form that it is written in."""
    index = json.loads((folder / "index.json").read_bytes())
    change(index)
    head = canonical_json({name: value for name, value in index.items() if name != "entries"})
    lines = [json.dumps(entry).encode() for entry in index["entries"]]
    (folder / "index.json").write_bytes(head[:-1] + b',"entries":[\n' + b",\n".join(lines) + b"\n]}\n")
    mark(folder)


def use(folder: Path) -> None:
    """Everything that a reader does."""
    for verify in ("none", "sizes", "full"):
        found = FeatureStore.open(folder, {"clip_frames": 4}, verify=verify)
        found.sample_ids()
        for index in range(len(found)):
            found.entry(index)
            found.source(index)
            found.targets(index)
            found.frames(index)
        assert found.statistics[0].shape == (8,) and len(found.skipped) >= 0


def set_in(entry: int, *path: Any) -> Callable[[dict[str, Any]], None]:
    *steps, last, value = path

    def change(index: dict[str, Any]) -> None:
        place: Any = index["entries"][entry]
        for step in steps:
            place = place[step]
        place[last] = value

    return change


ENTRIES: dict[str, Callable[[dict[str, Any]], object]] = {
    **{f"shape {n}": set_in(2, "targets", 1, [n, n, n, n]) for n in (HUGE, 10**6, 0, -1, 2**64, 1.5, "2", None, True)},
    **{f"shape of {value!r}": set_in(2, "targets", 1, value) for value in ([], [2], [2] * 9, None, "abc", {}, HUGE)},
    **{f"offset {n!r}": set_in(2, "targets", 2, n) for n in (-1, 0, 7, HUGE, 2**70, 1.5, "8", None, [], True)},
    **{f"crc {n!r}": set_in(2, "targets", 3, n) for n in (-1, 2**32, 0.5, None, "x", 12345)},
    **{f"dtype {n!r}": set_in(2, "targets", 0, n) for n in ("I64", "U8", "F32", None, 7, [], {})},
    **{
        f"frames {n!r}": set_in(2, "frames", n)
        for n in ([], "x", 1, ["U8", [1, 1, 1, HUGE], 8, 0], ["F32", [1] * 4, 8, 0])
    },
    **{f"targets {n!r}": set_in(2, "targets", n) for n in (None, [], "xxxx", [1, 2, 3, 4], {"a": 1})},
    **{f"id {n!r}": set_in(2, "id", n) for n in (None, "", 7, [], IDS[0])},
    **{f"shard {n!r}": set_in(2, "shard", n) for n in (None, -1, 3, HUGE, 0.0, "0", True, [])},
    **{f"record {n!r}": set_in(2, "record", n) for n in (None, [], "x", 7, {})},
    **{f"path {n!r}": set_in(2, "record", "path", n) for n in (None, 7, [], "")},
    **{
        f"frame_indices {n!r}"[:40]: set_in(2, "record", "frame_indices", n)
        for n in (None, 7, "abc", [], ["a"] * 8, [0.5] * 8, [-1] * 8, [10**30] * 8, [[0]] * 8)
    },
    **{f"valid_frames {n!r}": set_in(2, "record", "valid_frames", n) for n in (None, 0, -1, 9, HUGE, 2.0, "8", True)},
    **{f"decoder {n!r}": set_in(2, "record", "decoder", n) for n in (7, [], {"a": 1})},
    "an entry more": lambda index: index["entries"].append(dict(index["entries"][0], extra=1)),
    "an entry twice": lambda index: index["entries"].append(index["entries"][0]),
    "an entry that is none": lambda index: index["entries"].append(7),
    "an entry that is a list": lambda index: index["entries"].append([1]),
    "another grid": set_in(2, "targets", 1, [2, 4, 3, 8]),
}
HEADS: dict[str, Callable[[dict[str, Any]], object]] = {
    **{
        f"file {n!r}": (lambda index, n=n: index["shards"][1].update(file=n))
        for n in ("../x", "/etc/passwd", "a/../../x", "", "\0", None, 7, "key.json", "shard-00000-..%2f", "x" * 5000)
    },
    **{
        f"bytes {n!r}": (lambda index, n=n: index["shards"][1].update(bytes=n))
        for n in (-1, HUGE, None, "1", 2**80, [])
    },
    **{
        f"sha256 {n!r}": (lambda index, n=n: index["shards"][1].update(sha256=n))
        for n in (None, "", "zz", 7, [], "0" * 64)
    },
    **{
        f"shards {n!r}": (lambda index, n=n: index.update(shards=n))
        for n in (None, [], 7, "x", [7], [{}], [[]], {"a": 1})
    },
    **{f"skipped {n!r}": (lambda index, n=n: index.update(skipped=n)) for n in (None, 7, "x", [7], {"a": 1})},
    "the same shard twice": lambda index: index["shards"].append(index["shards"][0]),
    "a shard less": lambda index: index["shards"].pop(),
    "a field more": lambda index: index.update(extra=1),
    "a field less": lambda index: index.pop("skipped"),
}


@pytest.mark.parametrize("change", ENTRIES.values(), ids=ENTRIES)
def test_an_entry_that_cannot_be_is_a_store_error(change: Callable[[dict[str, Any]], object], store: Path) -> None:
    rewrite(store, change)
    with pytest.raises(StoreError, match=r"index\.json|shard-"):
        use(store)
    _resume(store)


@pytest.mark.parametrize("change", HEADS.values(), ids=HEADS)
def test_a_head_that_cannot_be_is_a_store_error(change: Callable[[dict[str, Any]], object], store: Path) -> None:
    rewrite(store, change)
    with pytest.raises(StoreError):
        use(store)
    _resume(store)


def _resume(folder: Path) -> None:
    """Goes on with it; that ends well or in a StoreError."""
    try:
        write(folder)
        finalize(folder, make_key(), SHARD_MB, IDS)
        use(folder)
    except StoreError:
        return


KEYS: dict[str, Any] = {
    **{
        f"{field} {value!r}": {field: value}
        for field in make_key().as_dict()
        for value in (None, 7.5, [], "no", HUGE, -1)
    },
    "a field more": {"extra": 1},
    "no number": {"sampling": {"seed": float("nan")}},
    "a patch of nothing": {"geometry": {"patch_size": 0}},
    "patches of text": {"geometry": {"patches_per_token": "x"}},
}


@pytest.mark.parametrize("change", KEYS.values(), ids=KEYS)
def test_a_key_that_cannot_be_is_a_store_error(change: dict[str, Any], store: Path) -> None:
    value = {**make_key().as_dict(), **change}
    (store / "key.json").write_text(json.dumps(value))
    try:
        read_key(store)
    except StoreError as error:
        assert "key.json" in str(error)
    for attempt in (lambda: use(store), lambda: write(store), lambda: finalize(store, make_key())):
        if value != make_key().as_dict():
            with pytest.raises(StoreError):
                attempt()


@pytest.mark.parametrize("name", ["key.json", "index.json", "COMPLETE", "statistics.safetensors"])
@pytest.mark.parametrize(
    "data",
    [DEEP, '{"a":' * 50_000, "[]", "7", "null", '"x"', "{}", "9" * 50_000, "\xff\xfe", '{"a":1,"a":2}', ""],
    ids=lambda data: data[:9],
)
def test_any_text_in_place_of_a_file(name: str, data: str, store: Path) -> None:
    (store / name).write_text(data, encoding="latin-1")
    if name in ("index.json", "statistics.safetensors"):
        mark(store)
    with pytest.raises(StoreError):
        use(store)
    _resume(store)


@pytest.mark.parametrize("name", ["key.json", "index.json", "COMPLETE", "statistics.safetensors", "shard"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "huge"])
def test_what_is_no_plain_file(name: str, kind: str, store: Path, tmp_path: Path) -> None:
    path = sorted(store.glob("shard-*.safetensors"))[0] if name == "shard" else store / name
    data = path.read_bytes()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        (tmp_path / "elsewhere").write_bytes(data)
        path.symlink_to(tmp_path / "elsewhere")
    else:
        with open(path, "wb") as file:
            file.write(data)
            file.truncate(HUGE)
    with pytest.raises(StoreError):
        use(store)
    _resume(store)


SIDECARS: dict[str, Callable[[dict[str, Any]], object]] = {
    **{name: (lambda value, change=change: change(value)) for name, change in ENTRIES.items() if "shard" not in name},
    **{f"file {n!r}": (lambda value, n=n: value.update(shard=n)) for n in ("../x", "/etc/passwd", 7, "", None, [])},
    **{f"bytes {n!r}": (lambda value, n=n: value.update(bytes=n)) for n in (-1, HUGE, None, "x", 0)},
    **{f"skips {n!r}": (lambda value, n=n: value.update(skipped=n)) for n in (None, 7, [7], [None], "x", {"a": 1})},
    **{
        f"entries {n!r}": (lambda value, n=n: value.update(entries=n))
        for n in (None, 7, [7], [None], "x", {"a": 1}, [])
    },
    "another key": lambda value: value.update(key=7),
    "a field less": lambda value: value.pop("sha256"),
}


@pytest.mark.parametrize("change", SIDECARS.values(), ids=SIDECARS)
def test_a_sidecar_that_cannot_be_is_passed_over(
    change: Callable[[dict[str, Any]], object], tmp_path: Path, straight: Path
) -> None:
    write(tmp_path, IDS[:4], flush_seconds=1000)
    (sidecar,) = (tmp_path / "parts").glob("*.json")
    value, _ = unseal(sidecar.read_bytes(), "")
    try:
        change(value)
    except (KeyError, AttributeError):
        pytest.skip("not of a sidecar")
    sidecar.write_bytes(sealed(value))
    FeatureStoreWriter(tmp_path, make_key()).done_ids()
    _resume(tmp_path)


def test_statistics_are_finite_and_above_nothing(store: Path) -> None:
    good = torch.ones(8)
    for mean_C, std_C in [
        (good * torch.nan, good),
        (good, good * torch.inf),
        (good, torch.zeros(8)),
        (good, -good),
        (good[:4], good),
        (good[:4], good[:4]),
        (good.double(), good.double()),
        (good.reshape(2, 4), good.reshape(2, 4)),
    ]:
        save_file({"mean_C": mean_C.clone(), "std_C": std_C.clone()}, store / "statistics.safetensors")
        mark(store)
        with pytest.raises(StoreError, match=r"statistics\.safetensors: "):
            FeatureStore.open(store)
    save_file({"mean": good}, store / "statistics.safetensors")
    mark(store)
    with pytest.raises(StoreError, match=r"statistics\.safetensors: holds no statistics"):
        FeatureStore.open(store)


def test_targets_are_finite_where_nobody_compares_checksums(store: Path) -> None:
    shard = sorted(store.glob("shard-*.safetensors"))[0]
    found = FeatureStore.open(store, verify="none")
    offset = json.loads((store / "index.json").read_bytes())["entries"][1]["targets"][2]
    data = bytearray(shard.read_bytes())
    data[offset : offset + 2] = torch.tensor([torch.nan]).bfloat16().view(torch.uint8).numpy().tobytes()
    shard.write_bytes(data)
    with pytest.raises(StoreError, match=rf"{shard.name}: targets of sample 'clip-01' are not finite"):
        found.targets(1)
    found.targets(0)
