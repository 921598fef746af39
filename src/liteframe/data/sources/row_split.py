"""Which split a row says that it is of: many data sets are published as one list of all their splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from liteframe.errors import ManifestError

_FIELDS = ("split", "subset", "partition", "data_split", "set")
_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
Splits = dict[str, list[Any]]
"""For each split of a list the number of its rows, how the first one tells it, and the place of that."""


def split_of(fields: Mapping[str, Any]) -> tuple[str, str] | None:
    """The split ("train", "val" or "test") that a row is of, and how it tells that; None where it does not."""
    for name in _FIELDS:
        value = fields.get(name)
        if isinstance(value, str) and (split := _NAMES.get(value.strip().lower())) is not None:
            return split, f'"{name}": "{value}"'
    return None


def count_split(splits: Splits, told: tuple[str, str] | None, place: str) -> None:
    """Counts a row of what `split_of` told, at that place."""
    if told is not None:
        splits.setdefault(told[0], [0, told[1], place])[0] += 1


def add_splits(splits: Splits, others: Splits) -> None:
    """Adds the counts of other rows of the same list, which stand behind."""
    for split, (count, told, place) in others.items():
        splits.setdefault(split, [0, told, place])[0] += count


def contradicts(split: str, of_row: str, in_list: Mapping[str, Any]) -> bool:
    """Whether a row is not to be read for a split.

    Nothing held out is trained on, nor anything of training held out. Besides, a list of one split alone may be read
    for another one: "val" is tested on where the answers of "test" are not published. Features are cached for training,
    so of a list of all splits those held out are not.

    Args:
        split: that it is read for; or "predict".
        of_row: that it is of.
        in_list: splits that the list has rows of.
    """
    if "train" in (split, of_row):
        return split not in (of_row, "predict")
    return "train" in in_list if split == "predict" else split != of_row and split in in_list


def require_split(split: str, paths: Sequence[str], sizes: Sequence[int], splits: Sequence[Splits]) -> None:
    """Raises ManifestError where lists have rows of another split than the one that they are read for.

    Args:
        split: name of the setting.
        paths: of each list.
        sizes: number of its rows.
        splits: what is told of them.
    """
    for path, size, in_list in zip(paths, sizes, splits, strict=True):
        for of_row, (count, told, place) in in_list.items():
            if contradicts(split, of_row, in_list):
                raise ManifestError(
                    f"data.{split}: {count:,} of the {size:,} rows of {path} are of another split, {told} (the first:"
                    f" {place}); write those that are meant into a list of their own, or drop the field"
                )
