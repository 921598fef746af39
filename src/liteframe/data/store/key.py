"""What a feature store was made from, and what making one will cost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from liteframe.data.limits import MOST_CLIP_FRAMES
from liteframe.errors import ConfigError, StoreError, StoreMismatch

FORMAT_VERSION = 1

_BYTES_PER_VALUE = {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8}


@dataclass(frozen=True)
class FieldDiff:
    """One setting that two keys disagree on; `name` is dotted, e.g. ``compressor.scale``."""

    name: str
    stored: Any
    wanted: Any


_ABSENT = "(absent)"
_SAMPLER = "sampling.sampler"
_SIZES = ("patch_size", "frames_per_token", "patches_per_token")
_KINDS: dict[type, str] = {dict: "object", str: "string", bool: "true or false", int: "whole number"}


def _diff(stored: Any, wanted: Any, name: str, partial: bool) -> list[FieldDiff]:
    if isinstance(stored, Mapping) and isinstance(wanted, Mapping):
        names = list(wanted) if partial and name != _SAMPLER else sorted({*stored, *wanted})
        out: list[FieldDiff] = []
        for child in names:
            dotted = f"{name}.{child}" if name else str(child)
            out += _diff(stored.get(child, _ABSENT), wanted.get(child, _ABSENT), dotted, partial)
        return out
    return [] if stored == wanted else [FieldDiff(name, stored, wanted)]


def _plain(name: str, value: Any) -> Any:
    try:
        return json.loads(json.dumps(value, sort_keys=True, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"feature store key, field {name}: {value!r} cannot be written as JSON ({error})") from error


@dataclass(frozen=True)
class StoreKey:
    """Everything that the numbers in a feature store depend on; two stores with equal keys are interchangeable.

    Args:
        teacher: class, sha256 of the weights, what else its config says of its tokens (not in older stores), layer that
            is read, attention implementation, pixels that are not ImageNet's.
        compressor: name, block (t, h, w), similarity, scale, saliency.
        geometry: image size, patch size, normalisation, frames and patches of a token where those are more than one.
        sampling: the sampler's ``describe()``, frames, windows a video, seed. Of one that can choose by time or by
            index, ``by`` is there only where that is time, as older stores were all made by index. And
            ``truncated: use``, where videos that are cut short were used.
        decoder: decoder setting, e.g. ``"auto"``.
        dtype: of the stored targets, e.g. ``"bfloat16"``.
        clip_frames: frames in one clip.
        data: `data_digest` of what the samples are.
        frames: whether the decoded frames are kept beside the targets.
        format_version: of the files on disk.

    Raises:
        ConfigError: a value cannot be written as JSON.
    """

    teacher: dict[str, Any]
    compressor: dict[str, Any]
    geometry: dict[str, Any]
    sampling: dict[str, Any]
    decoder: str
    dtype: str
    clip_frames: int = 4
    data: str = ""
    frames: bool = False
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        # Through JSON once, so that tuples equal the lists that come back from disk.
        for field in fields(self):
            object.__setattr__(self, field.name, _plain(field.name, getattr(self, field.name)))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def digest(self) -> str:
        """sha256 of the key, whatever the order of its fields."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True, allow_nan=False).encode()).hexdigest()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str = "feature store key") -> StoreKey:
        """Raises StoreError, naming `source` and field, if a field is missing, unknown, or not what it can be."""
        names = {field.name for field in fields(cls)}
        if not isinstance(values, Mapping):
            raise StoreError(f"{source}: the key is no JSON object; make the store anew")
        odd = sorted(names.symmetric_difference(values))
        if odd:
            raise StoreError(f"{source}: the key's fields {', '.join(odd)} are missing or unknown; make the store anew")
        _require_kinds(values, source)
        compressor = values["compressor"]
        if compressor.get("compressor") == "wap":  # written before there were others than the class token
            compressor = {"saliency": "class_token", **compressor}
        try:
            return cls(**{**values, "compressor": compressor})
        except ConfigError as error:  # such as NaN, which JSON has not
            raise StoreError(f"{source}: {error}; make the store anew") from error

    def diff(self, other: StoreKey | Mapping[str, Any]) -> list[FieldDiff]:
        """Fields in which `self` (stored) and `other` (wanted) differ.

        A mapping is compared only in the fields that it names, at every depth; but a sampler as a whole, as one that
        does not say `by` chooses otherwise than one that does.
        """
        if isinstance(other, StoreKey):
            return _diff(self.as_dict(), other.as_dict(), "", partial=False)
        wanted = {name: _plain(name, value) for name, value in other.items()}
        return _diff(self.as_dict(), wanted, "", partial=True)

    def require(self, wanted: StoreKey | Mapping[str, Any], folder: str) -> None:
        """Raises StoreMismatch, naming each field with its stored and wanted value, if the keys differ."""
        found = self.diff(wanted)
        if found:
            lines = "; ".join(f"{d.name}: stored {d.stored!r}, this run wants {d.wanted!r}" for d in found)
            raise StoreMismatch(
                f"{folder}: this feature store was made under other settings. {lines}. "
                "Set the run back to the stored value, give another folder, or delete this one to make it anew."
            )


def _require_kinds(values: Mapping[str, Any], source: str) -> None:
    kinds: dict[str, type] = dict.fromkeys(("teacher", "compressor", "geometry", "sampling"), dict)
    kinds |= {"decoder": str, "dtype": str, "clip_frames": int, "data": str, "frames": bool, "format_version": int}
    odd = [f"{name} is no {_KINDS[kind]}" for name, kind in kinds.items() if type(values[name]) is not kind]
    sizes = [values["geometry"].get(name, 1) for name in _SIZES] if not odd else []
    if not odd:
        odd += [f"format_version is not {FORMAT_VERSION}"] * (values["format_version"] != FORMAT_VERSION)
        odd += ["dtype is unknown"] * (values["dtype"] not in _BYTES_PER_VALUE)
        odd += [f"clip_frames is not from 1 to {MOST_CLIP_FRAMES}"] * (
            not 1 <= values["clip_frames"] <= MOST_CLIP_FRAMES
        )
        odd += [f"{', '.join(_SIZES)} of geometry are not above 0"] * (
            not all(type(size) is int and 0 < size < 1 << 20 for size in sizes)
        )
    if odd:
        raise StoreError(f"{source}: the key cannot be read: {'; '.join(odd)}; make the store anew")


def data_digest(samples: Iterable[str]) -> str:
    """sha256 of a text for each sample that says what it is, whatever their order: the `data` field of a StoreKey."""
    return hashlib.sha256(json.dumps(sorted(samples)).encode()).hexdigest()


@dataclass(frozen=True)
class Estimate:
    """Size on disk (1 GB = 1e9 bytes) and time of a feature store before it is made."""

    samples: int
    gigabytes: float
    hours: float

    def __str__(self) -> str:
        size = f"{self.gigabytes:,.1f} GB" if self.gigabytes >= 1 else f"{self.gigabytes * 1000:,.1f} MB"
        if self.hours >= 1:
            time = f"{self.hours:,.1f} hours"
        elif self.hours * 60 >= 1:
            time = f"{self.hours * 60:,.1f} minutes"
        else:
            time = f"{self.hours * 3600:,.1f} seconds"
        return f"{self.samples:,} samples: {size} on disk, about {time}"


def estimate(
    num_samples: int,
    clips_per_sample: float,
    grid: Sequence[int],
    channels: int,
    dtype: str,
    seconds_per_sample: float,
    frames_bytes: float = 0,
) -> Estimate:
    """Foretells what a feature store takes.

    Args:
        num_samples: samples to store.
        clips_per_sample: clips (after compression in time) in a sample.
        grid: (H', W') of a compressed clip.
        channels: feature width.
        dtype: of the targets, e.g. ``"bfloat16"``.
        seconds_per_sample: measured, over all ranks together (one rank's time / number of ranks).
        frames_bytes: bytes of stored frames a sample.

    Raises:
        ConfigError: unknown dtype.
    """
    name = str(dtype).removeprefix("torch.")
    if name not in _BYTES_PER_VALUE:
        raise ConfigError(f"dtype {name!r} cannot be stored; use one of {', '.join(_BYTES_PER_VALUE)}")
    values = clips_per_sample * grid[0] * grid[1] * channels
    total = num_samples * (values * _BYTES_PER_VALUE[name] + frames_bytes)
    return Estimate(num_samples, total / 1e9, num_samples * seconds_per_sample / 3600)
