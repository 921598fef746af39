"""Reads every frame of a video once, and says how many it has or what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from liteframe.data.check_rows import CheckRow
from liteframe.data.decode import scan_cached
from liteframe.data.decode_pool import DecodePool
from liteframe.data.pyav_in_order import frames_in_order
from liteframe.data.pyav_reader import Converter, read_sparse
from liteframe.data.pyav_scan import Scan
from liteframe.data.remote_cache import RemoteCache
from liteframe.data.remote_decode import with_copy
from liteframe.data.remote_file import is_url
from liteframe.errors import DecodeError, DecodeTimeout, LiteFrameError
from liteframe.progress import Meter

_GRID = 32


def check_video(path: str, verify_frames: int = 16, cache: RemoteCache | None = None) -> CheckRow:
    """Decodes all of `path` in order, and `verify_frames` random frames by seeking, which must be the same.

    A URL is fetched into `cache` first. Raises nothing of ours: the reason is in the row.
    """
    if not is_url(path):
        return _check_file(path, verify_frames)
    if cache is None:
        return CheckRow(path, False, "is not here; give --cache, a folder to fetch it into", passing=True)
    try:
        return replace(with_copy(path, cache, lambda copy: _check_copy(copy, verify_frames)), path=path)
    except DecodeError as error:
        return CheckRow(path, False, error.reason)
    except LiteFrameError as error:
        return CheckRow(path, False, str(error), passing=True)


def _check_copy(path: str, verify_frames: int) -> CheckRow:
    """As `_check_file`, but a copy that cannot be opened is a DecodeError, so that it is fetched again."""
    scan_cached(path)
    return _check_file(path, verify_frames)


def _check_file(path: str, verify_frames: int) -> CheckRow:
    row = _unopened(path, "")
    try:
        scan = scan_cached(path)
    except DecodeError as error:
        return replace(row, error=error.reason)
    row = replace(
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
    try:
        samples_TN, times = _sequential(scan)
        if scan.pts_T is None or scan.pts_T.tolist() == times:
            _require_same_by_seeking(scan, samples_TN, verify_frames)
    except DecodeError as error:
        return replace(row, ok=False, error=error.reason)
    frames = len(samples_TN)
    if frames == 0:
        return replace(row, frames=0, ok=False, error="has no frame that can be decoded")
    if frames != scan.frames:
        row = replace(row, reason=f"the container announces {scan.frames} frames, {frames} can be decoded")
    return replace(row, frames=frames)


def _unopened(path: str, error: str, passing: bool = False) -> CheckRow:
    """What is known of a file, good or bad, without opening it."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return CheckRow(path, False, error, passing=passing)
    return CheckRow(path, False, error, bytes=found.st_size, mtime_ns=found.st_mtime_ns, passing=passing)


def _sample(frame_HWC: np.ndarray) -> np.ndarray:
    """A grid of pixels, enough to tell frames apart: (N,) int16."""
    height, width = frame_HWC.shape[:2]
    rows, columns = np.linspace(0, height - 1, _GRID).astype(int), np.linspace(0, width - 1, _GRID).astype(int)
    return frame_HWC[np.ix_(rows, columns)].astype(np.uint8).reshape(-1)


def _sequential(scan: Scan) -> tuple[np.ndarray, list[int | None]]:
    convert = Converter(scan)
    samples, times = [], []
    for frame in frames_in_order(scan.path):
        samples.append(_sample(convert(frame)))
        times.append(frame.pts)
    return np.array(samples), times


def _require_same_by_seeking(scan: Scan, samples_TN: np.ndarray, verify_frames: int) -> None:
    """Raises DecodeError where frames at random positions are others when they are sought."""
    frames = len(samples_TN)
    random = np.random.default_rng(frames)
    positions = np.sort(random.choice(frames, min(verify_frames, frames), replace=False)).tolist()
    if not positions:
        return
    for index, frame_HWC in zip(positions, read_sparse(scan, positions), strict=True):
        if not np.array_equal(_sample(frame_HWC), samples_TN[index]):
            raise DecodeError(scan.path, f"shows another frame {index} when it is sought: write the file anew")


def check_many(
    paths: Sequence[str],
    processes: int = 2,
    deadline_s: float = 60.0,
    progress: bool = True,
    verify_frames: int = 16,
    remote_cache: RemoteCache | None = None,
) -> Iterator[CheckRow]:
    """Checks files in killable child processes, with progress on stderr; rows come in the order of `paths`.

    Args:
        paths: video files.
        processes: how many to check at a time.
        deadline_s: seconds for one file; after them the row's error says so.
        progress: show it.
        verify_frames: random positions at which reading by seeking is compared.
        remote_cache: where paths that are URLs are fetched to.
    """
    done: dict[int, CheckRow] = {}
    upcoming = 0
    calls = [(path, "liteframe.data.probe:check_video", (path, verify_frames, remote_cache)) for path in paths]
    with (
        DecodePool(processes, deadline_s, remote_cache=remote_cache) as pool,
        Meter("check", len(paths), "files", enabled=progress) as meter,
    ):
        for index, result in pool.call(calls):
            meter.update()
            if isinstance(result, DecodeError):  # no answer: `check_video` has every other error in its row
                hint = "; a long video needs a larger deadline_s" if isinstance(result, DecodeTimeout) else ""
                result = _unopened(paths[index], result.reason + hint, passing=True)
            done[index] = result
            while upcoming in done:
                yield done.pop(upcoming)
                upcoming += 1
