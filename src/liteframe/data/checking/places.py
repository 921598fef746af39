"""Which parts of a long video `liteframe check` decodes in order, and how those are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from liteframe.data.decoding.pyav.opening import open_video, packets_of
from liteframe.data.decoding.pyav.scan import Scan

MOST_WHOLE = 2400
"""Frames of a video that is decoded whole in any case."""
_ENOUGH = 1200
"""Frames that are decoded of a longer one, at least."""
_SHORTEST = 100
"""Frames of one place, if the video has as many from there on."""


class Odd(Exception):
    """A place is not as the packets say: only decoding all of the video tells what is wrong."""


def places(scan: Scan) -> list[tuple[int, range]]:
    """Runs of frames from a key frame on: the start, the end, and random ones between.

    Each comes with the key frame before, where decoding begins so that the run itself is read in order. There are none
    where decoding the whole video costs little more, or its packets do not tell its frames.
    """
    if scan.frames <= MOST_WHOLE or scan.pts_T is None or scan.by_decoding or len(scan.key_pts_K) < 2:
        return []
    keys_K = np.searchsorted(scan.pts_T, scan.key_pts_K)
    if keys_K[0] != 0 or (np.diff(keys_K) <= 0).any() or keys_K[-1] >= scan.frames:
        return []
    starts = _thinned(keys_K.tolist(), scan.frames)
    runs = [range(start, end) for start, end in zip(starts, [*starts[1:], scan.frames], strict=True)]
    if len(runs) < 2:
        return []
    between = np.random.default_rng(scan.frames).permutation(np.arange(1, len(runs) - 1)).tolist()
    chosen = [0, len(runs) - 1]
    while between and sum(len(runs[number]) for number in chosen) < _ENOUGH:
        chosen.append(between.pop())
    found = [(_key_before(keys_K, runs[number].start), runs[number]) for number in sorted(chosen)]
    return found if 2 * sum(run.stop - begin for begin, run in found) <= scan.frames else []


def _thinned(keys: list[int], frames: int) -> list[int]:
    """Those of the key frames that lie far enough apart, and from the end."""
    kept = [0]
    for key in keys:
        if key - kept[-1] >= _SHORTEST and frames - key >= _SHORTEST:
            kept.append(key)
    return kept


def _key_before(keys_K: np.ndarray, start: int) -> int:
    return int(keys_K[max(np.searchsorted(keys_K, start) - 1, 0)])


def read_place(scan: Scan, begin: int, run: range) -> Iterator[tuple[int, Any]]:
    """Each frame of `run` with its index, decoded in order from the key frame `begin` on.

    Raises:
        Odd: another frame comes, or none, or the decoder complains.
    """
    import av

    assert scan.pts_T is not None
    first, heeded, position = int(scan.pts_T[run.start]), run.start == 0, run.start
    with open_video(scan.path) as (container, stream, log):
        try:
            if begin > 0:
                container.seek(int(scan.pts_T[begin]), stream=stream, backward=True, any_frame=False)
            for packet in log.each(packets_of(scan.path, container, stream), demuxer=False):
                heeded = heeded or packet.pts == first
                with log.listening(demuxer=False):
                    frames = packet.decode()
                if not heeded:
                    log.forget()  # the run-up may begin with what refers to a group before
                for frame in frames:
                    if frame.pts is not None and frame.pts < first:
                        continue
                    if frame.pts != scan.pts_T[position] or frame.is_corrupt or log.damage:
                        raise Odd
                    yield position, frame
                    position += 1
                    if position == run.stop:
                        return
        except av.error.FFmpegError as error:
            raise Odd from error
    raise Odd
