"""The rows of a split: read, and refused where a stage cannot use them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from liteframe.data.sources.manifest import VideoSource, read_sources
from liteframe.data.sources.refused_rows import refused_rows
from liteframe.data.sources.row_checks import RowCheck
from liteframe.data.sources.row_table import RowTable
from liteframe.errors import ConfigError, ManifestError

Split = Literal["train", "val", "test", "predict"]
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
        ManifestError: at the first row that cannot be used, unless `skip`.
    """
    if not sources:
        hint = " (or data.store)" if split == "train" else ""
        raise ConfigError(f"data.{split}{hint} is not set; give a list (JSONL, JSON, Parquet) or a folder of videos")
    rows = read_sources(sources, keep_unusable=skip)
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
