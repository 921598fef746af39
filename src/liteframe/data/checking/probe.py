"""What `liteframe check` finds out about a file: how many frames it has, or what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

from liteframe.data.checking.frames import compare_by_decord, decode_and_compare
from liteframe.data.checking.remarks import remarks_on
from liteframe.data.checking.rows import CheckRow
from liteframe.data.decoding import decord_reader
from liteframe.data.decoding.containers.cut_short import CUT
from liteframe.data.decoding.decode import NEXT, scan_cached
from liteframe.data.decoding.processes.pool import DecodePool
from liteframe.data.decoding.processes.remote_decode import with_copy
from liteframe.data.decoding.pyav.header import told_duration
from liteframe.data.decoding.pyav.scan import Scan
from liteframe.data.decoding.pyav.scan_text import to_text
from liteframe.data.remote.cache import RemoteCache
from liteframe.data.remote.file import is_url
from liteframe.errors import DecodeError, LiteFrameError
from liteframe.system.progress import Meter


def check_video(
    path: str,
    verify_frames: int = 16,
    cache: RemoteCache | None = None,
    full: bool = False,
    truncated: bool = False,
    decoder: str = "auto",
) -> CheckRow:
    """Decodes `path` in order, and `verify_frames` random frames by seeking, which must be the same.

    Of a long video places are decoded, unless `full`. One that is cut short is an error, unless `truncated`. A URL is
    fetched into `cache` first. Raises nothing of ours: the reason is in the row. Asked with the decoder NEXT, though,
    which stands in for another one, it raises the reason.
    """
    settings = verify_frames, full, truncated, decoder
    if not is_url(path):
        return _check_file(path, *settings)
    if cache is None:
        return CheckRow(path, False, "is not here; give --cache, a folder to fetch it into", passing=True)
    try:
        found = with_copy(path, cache, lambda copy: _check_copy(copy, *settings))
        return replace(found, path=path)
    except DecodeError as error:
        if decoder == NEXT:
            raise
        return CheckRow(path, False, error.reason)
    except LiteFrameError as error:
        return CheckRow(path, False, str(error), passing=True)


def _check_copy(path: str, verify_frames: int, full: bool, truncated: bool, decoder: str) -> CheckRow:
    """As `_check_file`, but a copy that cannot be opened is a DecodeError, so that it is fetched again."""
    scan_cached(path, truncated)
    return _check_file(path, verify_frames, full, truncated, decoder)


def _check_file(path: str, verify_frames: int, full: bool, truncated: bool, decoder: str) -> CheckRow:
    row = _unopened(path, "")
    try:
        scan = scan_cached(path, truncated)
        row = _opened(row, scan)
        by_next = decoder == NEXT
        decoded = compare_by_decord(scan, verify_frames) if by_next else decode_and_compare(scan, verify_frames, full)
        more = [] if by_next else remarks_on(scan)
        told_s = 0.0 if by_next else told_duration(path)
    except DecodeError as error:
        if decoder == NEXT:
            raise
        return replace(row, ok=False, error=error.reason)
    if decoded.frames == 0:
        return replace(row, frames=0, ok=False, error="has no frame that can be decoded")
    cut = [f"{CUT} ({scan.cut_short}); what is there is used"] if scan.cut_short else []
    lost = [f"its first {scan.lost_s:.2f} s, before a key frame, cannot be shown"] if scan.lost_s else []
    remarks = [*cut, *lost, *decoded.remarks, *more, *(["is a single picture"] if decoded.frames == 1 else [])]
    read_by = "decord" if by_next else "pyav"
    frames, verified = decoded.frames, decoded.verified
    lasts = told_s if told_s > scan.duration + 1 else 0.0
    text = to_text(scan) if frames == scan.frames else ""
    return replace(
        row, frames=frames, verified=verified, decoder=read_by, reason="; ".join(remarks), scan=text, lasts=lasts
    )


def _opened(row: CheckRow, scan: Scan) -> CheckRow:
    return replace(
        row,
        ok=True,
        codec=scan.codec,
        width=scan.width,
        height=scan.height,
        fps=scan.fps,
        frames=scan.frames,
        duration=scan.duration,
        decoder="pyav",
    )


def _unopened(path: str, error: str, passing: bool = False) -> CheckRow:
    """What is known of a file, good or bad, without opening it."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return CheckRow(path, False, error, passing=passing)
    return CheckRow(path, False, error, bytes=found.st_size, mtime_ns=found.st_mtime_ns, passing=passing)


def check_many(
    paths: Sequence[str],
    processes: int = 2,
    deadline_s: float = 60.0,
    progress: bool = True,
    verify_frames: int = 16,
    remote_cache: RemoteCache | None = None,
    full: bool = False,
    truncated: bool = False,
) -> Iterator[CheckRow]:
    """Checks files in killable child processes, with progress on stderr; rows come as they are done.

    Args:
        paths: video files.
        processes: how many to check at a time.
        deadline_s: seconds without progress on one file; after them the row's error says so.
        progress: show it.
        verify_frames: random positions at which reading by seeking is compared.
        remote_cache: where paths that are URLs are fetched to.
        full: decode all of long videos, too.
        truncated: use what is there of videos that are cut short.
    """
    told = verify_frames, remote_cache, full, truncated
    others = [NEXT] if decord_reader.available() else []  # as training would go on after a crash or hang
    calls = (
        (path, "liteframe.data.checking.probe:check_video", (path, *told), *((path, *told, other) for other in others))
        for path in paths
    )
    with (
        DecodePool(processes, deadline_s, remote_cache=remote_cache, setting="--deadline_s") as pool,
        Meter("check", len(paths), "files", enabled=progress) as meter,
    ):
        for index, result in pool.call(calls):
            meter.update()
            if isinstance(result, DecodeError):  # no answer: `check_video` has every other error in its row
                result = _unopened(paths[index], result.reason, passing=True)
            yield result
