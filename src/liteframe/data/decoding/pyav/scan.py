"""What a video file holds: its frames and their times, from its packets, or from decoding where packets do not tell."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import numpy as np

from liteframe.data.decoding.containers.formats import is_unmistakable
from liteframe.data.decoding.orientation import Orientation
from liteframe.data.decoding.pyav.header import read_header
from liteframe.data.decoding.pyav.in_order import frames_in_order, time_before_key
from liteframe.data.decoding.pyav.opening import file_head, open_video, packets_of
from liteframe.data.decoding.pyav.packet_table import PacketTable
from liteframe.errors import DecodeError

# containers whose times are picture numbers
_NUMBERING = {"dirac"}
_CLOCK, _OF_33_BITS = 1 << 33, {"mpegts", "mpeg"}
# containers that store decoding times alone, from which FFmpeg guesses when frames are shown
TIMES_OF_DECODING = {"avi", "asf", "gxf"}
_MOST_REORDERED = 16
"""Frames that H.264 and HEVC may hold back to show others before them."""
_HASTY = 0.75
"""Of the usual frame interval: a shorter one cannot be rounding."""
_LAST = 10
"""Frames at the end whose intervals tell how long the last one is shown; packets do not, as they are out of order."""


@dataclass(frozen=True)
class Scan:
    """What a file holds.

    Attributes:
        width: pixels of an upright frame.
        height: pixels of an upright frame.
        orientation: how decoded pictures become upright.
        orientation_in_stream: it is not the container that tells it, so that not all decoders heed it.
        sample_aspect: width of a pixel of an upright frame by its height; frames are left as they are stored.
        streams: video streams that the file has, covers aside; the one marked as the default is read.
        fps: mean frames a second, of the times where there are any.
        frames: distinct frames that a player shows.
        pts_T: their presentation times in units of `time_base` seconds, ascending; None where the file has none to use.
        seconds_T: seconds of each frame after the first, where they are other than those of `pts_T`.
        key_pts_K: presentation times of the key frames, ascending.
        by_decoding: the frames were counted by decoding them all, so only reading in order is safe.
        hidden: packets that hold no frame to be shown.
        open_groups: decoding cannot start afresh at each key frame, or the packets do not tell.
        early_keys: a key frame is decoded before the one before it is shown, so that seeks by time of decoding miss.
        layout_doubt: why an MP4 or QuickTime file is not laid out in the plain way; empty where it is, and for others.
        container: FFmpeg's name of the format.
        cut_short: what the file lacks at its end; empty where nothing is known to be missing.
        lost_s: seconds at its start that cannot be shown, as it begins within a group of pictures.
        whole_read: the whole file was read for this.
        unmistakable: the file begins as others of its format do, so that no FFmpeg takes it for another.
    """

    path: str
    codec: str
    pixel_format: str
    width: int
    height: int
    orientation: Orientation
    orientation_in_stream: bool
    sample_aspect: float
    streams: int
    fps: float
    frames: int
    duration: float
    time_base: float
    pts_T: np.ndarray | None
    seconds_T: np.ndarray | None
    key_pts_K: np.ndarray
    by_decoding: bool
    hidden: int
    open_groups: bool
    early_keys: bool
    layout_doubt: str
    container: str
    cut_short: str
    lost_s: float
    whole_read: bool
    unmistakable: bool

    @property
    def rotation(self) -> int:
        """Degrees counter-clockwise by which decoded pictures are turned, after any mirroring."""
        return self.orientation.rotation

    def times(self) -> np.ndarray:
        """Start of each frame in seconds after the first one, (frames,) float64."""
        if self.seconds_T is not None:
            return self.seconds_T
        if self.pts_T is None:
            return np.arange(self.frames) / self.fps
        return (self.pts_T - self.pts_T[0]) * self.time_base


def scan(path: str, by_decoding: bool = False, truncated: bool = False) -> Scan:
    """What `path` holds, from its packets and first frame; with `by_decoding` from decoding every frame.

    Args:
        path: the video.
        by_decoding: decode every frame.
        truncated: a file that is cut short is good for what is there, which is found out by decoding.

    Raises:
        DecodeError: the file cannot be read, or its first frame cannot be decoded.
        CutShort: it is cut short.
    """
    header, table = read_header(path, truncated)
    if table is not None and header.first.pts != table.pts_T[0]:
        table = None  # the file was cut: its first pictures refer to others that are gone, and are not shown
    counted = by_decoding or table is None or bool(header.cut_short)
    if counted or table is None:
        pts_T, frames, seconds_T = _decode_all(path, header.container, header.time_base)
        table = PacketTable(np.empty(0, np.int64), np.empty(0, np.int64), 0, True, True)
    else:
        pts_T, frames, seconds_T = table.pts_T, len(table.pts_T), None
    if frames == 0:
        raise DecodeError(path, "has no frame that can be decoded")
    shown_T = (pts_T - pts_T[0]) * header.time_base if seconds_T is None and pts_T is not None else seconds_T
    fps, duration = _rate_and_duration(header.rate, frames, shown_T, header.time_base)
    # of an orientation in the stream too, FFmpeg tells now the one and now the other
    by_container = header.told_orientation != Orientation()
    orientation = header.told_orientation if by_container else header.first.orientation
    turned = orientation.rotation % 180 != 0
    sizes = (header.first.width, header.first.height)
    width, height = sizes[::-1] if turned else sizes
    return Scan(
        path=path,
        codec=header.codec,
        pixel_format=header.first.pixel_format,
        width=width,
        height=height,
        orientation=orientation,
        orientation_in_stream=header.first.orientation != header.told_orientation,
        sample_aspect=1 / header.sample_aspect if turned else header.sample_aspect,
        streams=header.streams,
        fps=fps,
        frames=frames,
        duration=duration,
        time_base=header.time_base,
        pts_T=pts_T,
        seconds_T=seconds_T,
        key_pts_K=table.key_pts_K,
        by_decoding=counted,
        hidden=table.hidden,
        open_groups=table.open_groups,
        early_keys=table.early_keys,
        layout_doubt=header.layout_doubt,
        container=header.container,
        cut_short=header.cut_short,
        lost_s=_lost_at_start(path, pts_T) * header.time_base if counted else 0.0,
        whole_read=counted or not header.by_tables,
        unmistakable=is_unmistakable(header.container, file_head(path)),
    )


def _lost_at_start(path: str, pts_T: np.ndarray | None) -> int:
    """Ticks before the first frame that cannot be shown, as the file begins within a group of pictures; else 0."""
    begin = time_before_key(path)
    return 0 if begin is None or pts_T is None else max(0, int(pts_T[0]) - begin)


def _rate_and_duration(told: float, frames: int, shown_T: np.ndarray | None, time_base: float) -> tuple[float, float]:
    """Frames a second and seconds: of the times where there are any, as the container's rate may be another."""
    if shown_T is None or frames < 2:
        fps = told if told > 0 else 25.0
        return fps, frames / fps
    span = float(shown_T[-1])
    by_times = (frames - 1) / span
    # the container knows the rate more exactly than rounded times do, or counts how long the last frame is shown
    slack = time_base / span + 1.5 / frames
    fps = told if told > 0 and abs(told - by_times) <= min(max(slack, 0.002), 0.1) * by_times else by_times
    return fps, span + median(np.diff(shown_T[-_LAST:]).tolist())


def _decode_all(path: str, container: str, time_base: float) -> tuple[np.ndarray | None, int, np.ndarray | None]:
    """Decodes every frame to find their times.

    Returns:
        Presentation times where they ascend, else None; the number of frames; and seconds of each frame where those
        have to be worked out in another way, else None.
    """
    times = [frame.pts for frame in frames_in_order(path)]
    frames = len(times)
    if not frames or container in _NUMBERING or any(time is None for time in times):
        return None, frames, None
    pts_T = _clock_read_anew(np.array(times, np.int64), container)
    steps = np.diff(pts_T)
    ascend = frames < 2 or bool(steps.min() > 0)
    if ascend and container not in TIMES_OF_DECODING:
        return pts_T, frames, None
    decoded_T = _clock_read_anew(_decoding_times(path, np.array(times)), container)
    if len(decoded_T) == frames and (np.diff(decoded_T) > 0).all():  # shown in that rhythm, some frames later
        in_order = np.array_equal(decoded_T, pts_T)
        rhythm_T = decoded_T - decoded_T[0] if in_order else _with_even_start(decoded_T)
        return pts_T if ascend else None, frames, rhythm_T * time_base
    if ascend:
        return pts_T, frames, None
    if not (steps > 0).any():
        return None, frames, None
    return None, frames, _ascending(pts_T) * time_base


def _clock_read_anew(times_T: np.ndarray, container: str) -> np.ndarray:
    """Undoes the wrap of 2^33 ticks that FFmpeg assumes where the clock of a joined part restarts.

    FFmpeg adds 2^33 to every time that lies more than a minute before the first. After a real wrap of the clock the
    times then go on in short steps; where a joined part restarts it, one step spans hours.
    """
    if container not in _OF_33_BITS or len(times_T) < 2:
        return times_T
    steps = np.diff(times_T)
    wraps = (steps > _CLOCK // 2).astype(np.int64) - (steps < -(_CLOCK // 2))
    return times_T - _CLOCK * np.concatenate([[0], np.cumsum(wraps)])


def _with_even_start(decoded_T: np.ndarray) -> np.ndarray:
    """Decoding times from 0 on, (T,) int64, with the first frames spaced as evenly as the rest.

    Some writers squeeze the first decoding times together, because pictures that are decoded ahead of display would
    otherwise need negative ones.
    """
    steps = np.diff(decoded_T)
    hasty = steps < _HASTY * np.median(steps) if len(steps) else np.empty(0, bool)
    if not hasty[_MOST_REORDERED:].any():
        steps[hasty] = np.median(steps)
    return np.concatenate([[0], np.cumsum(steps)])


def _ascending(pts_T: np.ndarray) -> np.ndarray:
    """Ascending times made from times that go back: (T,) float64, the first 0.

    Steps back no longer than decoders reorder frames are sorted out. After a longer one a new part begins, which
    follows the part before it. Frames with the same time are spread evenly up to the next time.
    """
    steps = np.diff(pts_T)
    usual = np.median(steps[steps > 0])
    if -steps.min() <= _MOST_REORDERED * usual:
        steps = np.diff(np.sort(pts_T))
    told_T = np.concatenate([[0.0], np.cumsum(np.where(steps < 0, usual, steps))])
    new_N = np.flatnonzero(np.diff(told_T, prepend=-1.0))
    known_N = np.append(told_T[new_N], told_T[-1] + usual)
    return np.interp(np.arange(len(told_T)), np.append(new_N, len(told_T)), known_N)


def _decoding_times(path: str, pts_T: np.ndarray) -> np.ndarray:
    """Decoding times of the packets, (packets,) int64; empty where a packet has none.

    Packets at the start of a cut file that give no frame, because they refer to pictures that are gone, are left out.
    """
    with open_video(path) as (container, stream, log), log.listening(decoder=False):
        times = [(packet.dts, packet.pts) for packet in packets_of(path, container, stream) if packet.size]
    decoded = [dts for dts, _ in times]
    lost = {pts for _, pts in times}.difference(pts_T.tolist())
    second = sorted(pts_T.tolist())[:2][-1]
    cut = len(lost) == len(times) - len(pts_T) and all(pts is not None and pts < second for pts in lost)
    return np.array([] if None in decoded else decoded[len(lost) if cut else 0 :], np.int64)
