"""Sources of videos that lie at an address: a copy of a list, or the videos that lie below it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from liteframe.data.remote.fetched import fetched_file
from liteframe.data.remote.objects import objects_below
from liteframe.data.sources.file_kind import is_video, lists_beside, require_source
from liteframe.data.sources.video_row import VideoRow
from liteframe.data.sources.video_suffixes import VIDEO_SUFFIXES
from liteframe.errors import ManifestError
from liteframe.system.shown_url import shown_url


def list_or_videos(url: str) -> Path | list[VideoRow]:
    """A copy of the list at `url`, or a row for each video there: one, or, of a folder, all at any depth, sorted.

    Raises:
        ManifestError: there is nothing, no video, or what is no list.
        ConfigError: it cannot be asked for, see `data.remote.objects`.
    """
    place = shown_url(url)
    if _is_video(place):
        return [VideoRow(path=url, id=PurePosixPath(place).name)]
    copy = None if place.endswith("/") else fetched_file(url)
    if copy is not None:
        require_source(copy, place)
        return [VideoRow(path=url, id=copy.name)] if is_video(copy) else copy
    names = objects_below(url)
    if not names:
        raise ManifestError(
            f"{place}: no such manifest, folder or video; give a list (JSONL, JSON, Parquet) or a folder of videos"
        )
    shown = [name for name in names if not any(part[:1] == "." for part in name.split("/"))]
    videos = [name for name in shown if _is_video(name)]
    lists = lists_beside(shown, len(videos))
    if not videos:
        looked_for = f"endings looked for: {' '.join(sorted(VIDEO_SUFFIXES))}"
        raise ManifestError(f"{place}: no video in this folder; {lists or looked_for}")
    if lists:
        raise ManifestError(f"{place}: {len(videos)} video{'s' * (len(videos) != 1)} in this folder, and {lists}")
    return [VideoRow(path=f"{url.rstrip('/')}/{name}", id=name) for name in videos]


def _is_video(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in VIDEO_SUFFIXES
