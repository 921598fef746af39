"""The rows of a split: read, and refused where a stage cannot use them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from liteframe.data.sources.manifest import VideoSource, read_sources
from liteframe.data.sources.refused_rows import refused_rows
from liteframe.data.sources.row_checks import RowCheck
from liteframe.data.sources.row_split import require_split
from liteframe.data.sources.row_table import RowTable
from liteframe.errors import ConfigError, ManifestError

Split = Literal["train", "val", "test", "predict"]
_MOST_COMPARED = 2_000_000
"""Rows whose paths are compared in a few seconds."""
SPLITS_OF_VERB: dict[str, tuple[Split, ...]] = {
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
    "predict": ("predict",),
}


def read_split(
    split: str, sources: Sequence[VideoSource], check: RowCheck | None, skip: bool, has_cache: bool
) -> RowTable:
    """The rows of all sources of a split.

    Args:
        split: name of the setting.
        sources: lists and folders.
        check: asked of each row; raises DataError.
        skip: keep rows that cannot be used, marked as such.
        has_cache: whether there is a cache for videos that have to be fetched.

    Raises:
        ConfigError: there is no source; a video has to be fetched, and there is no cache.
        ManifestError: at the first row that cannot be used, unless `skip`; or a list has rows of another split.
    """
    if not sources:
        hint = " (or data.store)" if split == "train" else ""
        raise ConfigError(f"data.{split}{hint} is not set; give a list (JSONL, JSON, Parquet) or a folder of videos")
    rows = read_sources(sources, keep_unusable=skip)
    require_split(split, [source.path for source in sources], rows.sizes, rows.splits)
    if check is not None:
        mark_refused(rows, check, skip)
    if rows.first_url is not None and not has_cache:
        raise ConfigError(
            f"data.remote_cache is not set, but data.{split} has videos to be fetched, such as {rows.first_url}; set"
            " its folder and gigabytes"
        )
    return rows


def mark_refused(rows: RowTable, check: RowCheck, skip: bool) -> list[int]:
    """Marks the rows that `check` refuses as unusable, and returns their indices.

    Raises:
        ManifestError: at the first one, unless `skip`.
    """
    found = refused_rows(rows, check, first=not skip)
    if found and not skip:
        raise ManifestError(next(iter(found.values())))
    rows.errors = dict(sorted((rows.errors | found).items()))
    return list(found)


def said_of_shared(train: RowTable, val: RowTable) -> str | None:
    """What to say of videos that are in both; None where none is, or there are too many rows to compare."""
    if len(train) + len(val) > _MOST_COMPARED:
        return None
    validated = {*val.paths()}
    shared = {path for path in train.paths() if path in validated}
    if not shared:
        return None
    some = f"{len(shared):,} of the {len(validated):,} videos" if len(validated) > 1 else "the one video"
    return (
        f"warning: {some} of data.val, such as {min(shared)}, are in data.train too: unless the lists take"
        " other parts of them, what is validated was trained on"
    )
