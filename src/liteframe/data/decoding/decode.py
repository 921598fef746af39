"""Video files to frames: the right frame at each index, whichever decoder reads it.

`auto` reads with PyAV, which tells the time of each frame that it gives. decord only counts what its decoder gives: one
picture that the decoder leaves out, as it may without a word where a file is damaged, and all after it are others than
asked for. It is there for those who ask for it.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from liteframe.data.decoding import decord_reader, torchcodec_reader
from liteframe.data.decoding.decord_trust import decord_doubt, decord_refusal
from liteframe.data.decoding.frame_resize import FrameResize
from liteframe.data.decoding.frame_sink import FrameArray, FrameSink
from liteframe.data.decoding.memory import require_memory
from liteframe.data.decoding.pyav import reader as pyav_reader
from liteframe.data.decoding.pyav import scan as pyav_scan
from liteframe.data.decoding.pyav.opening import kept
from liteframe.data.decoding.pyav.reader import TableMismatch
from liteframe.data.decoding.pyav.scan import Scan
from liteframe.data.decoding.pyav.scan_text import from_text
from liteframe.errors import ConfigError, DecodeError

DECODERS = ("auto", "decord", "pyav", "torchcodec")
NEXT = "next"
"""Asked after the decoder of `auto` has crashed or hung: decord, on kinds of files that it is known right on."""
_CACHED_FRAMES = 2_000_000


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds.

    Attributes:
        path: the file.
        codec: FFmpeg's name of the codec, such as "h264".
        width: pixels, after the display rotation.
        height: pixels, after the display rotation.
        fps: mean frames a second.
        frames: distinct frames that can be decoded; indices run from 0 to frames - 1 by presentation time.
        duration: seconds.
        rotation: degrees counter-clockwise that decoded pictures are turned by (0, 90, 180, 270).
        decoder: the one that reads it, "decord", "pyav" or "torchcodec".
        mirrored: decoded pictures have left and right exchanged, before they are turned.
        sample_aspect: width of a pixel by its height, as it is meant to be shown; frames are left as they are stored.
        cut_short: what the file lacks at its end, where such files are used; empty where nothing is missing.
    """

    path: str
    codec: str
    width: int
    height: int
    fps: float
    frames: int
    duration: float
    rotation: int
    decoder: str
    mirrored: bool = False
    sample_aspect: float = 1.0
    cut_short: str = ""


class _ScanCache:
    """Scans by (path, size, mtime, whether it is cut short), bounded by the number of frames they list."""

    def __init__(self) -> None:
        self._scans: OrderedDict[tuple[str, int, int, bool], Scan] = OrderedDict()
        self._listed = 0
        self._lock = threading.Lock()

    @staticmethod
    def _key(path: str, cut: bool) -> tuple[str, int, int, bool] | None:
        try:
            stat = os.stat(path)
        except OSError:
            return None
        return os.path.abspath(path), stat.st_size, stat.st_mtime_ns, cut

    def get(self, path: str, truncated: bool = False) -> Scan:
        keys = [self._key(path, cut) for cut in ((False, True) if truncated else (False,))]
        with self._lock:
            for key in keys:
                if key is not None and key in self._scans:
                    self._scans.move_to_end(key)
                    return self._scans[key]
        return self.put(path, pyav_scan.scan(path, truncated=truncated))

    def knows(self, path: str) -> bool:
        with self._lock:
            return any(self._key(path, cut) in self._scans for cut in (False, True))

    def put(self, path: str, scan: Scan) -> Scan:
        key = self._key(path, bool(scan.cut_short))
        if key is None:
            return scan
        with self._lock:
            old = self._scans.pop(key, None)
            self._listed += scan.frames + 100 - (old.frames + 100 if old else 0)
            self._scans[key] = scan
            while self._listed > _CACHED_FRAMES and len(self._scans) > 1:
                self._listed -= self._scans.popitem(last=False)[1].frames + 100
        return scan


_scans = _ScanCache()


def _info(scan: Scan, decoder: str) -> VideoInfo:
    if decoder == NEXT:
        if doubt := decord_doubt(scan):
            raise DecodeError(scan.path, doubt)
        decoder = "decord"
    if decoder == "decord":
        if not decord_reader.available():
            raise DecodeError(scan.path, "decord was asked for but is not installed: use 'pyav' or 'auto'")
        if reason := decord_refusal(scan):
            raise DecodeError(scan.path, f"{reason}: use 'pyav' or 'auto'")
    elif decoder == "torchcodec":
        torchcodec_reader.require_torchcodec()
        if reason := torchcodec_reader.torchcodec_refusal(scan):
            raise DecodeError(scan.path, f"{reason}: use 'pyav' or 'auto'")
    else:
        decoder = "pyav"
    return VideoInfo(
        path=scan.path,
        codec=scan.codec,
        width=scan.width,
        height=scan.height,
        fps=scan.fps,
        frames=scan.frames,
        duration=scan.duration,
        rotation=scan.rotation,
        decoder=decoder,
        mirrored=scan.orientation.mirrored,
        sample_aspect=scan.sample_aspect,
        cut_short=scan.cut_short,
    )


def scan_cached(path: str, truncated: bool = False) -> Scan:
    """`pyav_scan.scan(path)`, cached by path, size and time of change."""
    return _scans.get(os.fspath(path), truncated)


def remember_scan(path: str, text: object, size: object, mtime_ns: object) -> None:
    """Takes over what `liteframe check` found out about a file, if the file is the same and nothing is known of it."""
    if not _scans.knows(path) and (scan := from_text(text, path, size, mtime_ns)) is not None:
        _scans.put(path, scan)


def forget_scans() -> None:
    """Empties the cache of this process, so that the next read starts at opening the file, as a measurement must."""
    global _scans
    _scans = _ScanCache()
    kept.close()


def check_decoder(decoder: str) -> str:
    """`decoder`, or ConfigError where it is none of `DECODERS`."""
    if decoder not in (*DECODERS, NEXT):
        raise ConfigError(f"decoder: {decoder!r} is none of {', '.join(DECODERS)}")
    return decoder


def probe(path: str, decoder: str = "auto", truncated: bool = False) -> VideoInfo:
    """What `path` holds, from its packets and first frame; cached by path, size and mtime.

    Args:
        path: a video file.
        decoder: one of `DECODERS`.
        truncated: use what is there of a file that is cut short.

    Raises:
        DecodeError: the file cannot be read (by the decoder asked for).
        CutShort: it is cut short.
        ConfigError: no such decoder.
    """
    check_decoder(decoder)
    path = os.fspath(path)
    return _info(_scans.get(path, truncated), decoder)


def frame_times(path: str, truncated: bool = False) -> np.ndarray:
    """Start of each frame in seconds after the first, (frames,) float64."""
    return _scans.get(os.fspath(path), truncated).times()


def read_frames(
    path: str,
    indices: Sequence[int] | np.ndarray,
    decoder: str = "auto",
    info: VideoInfo | None = None,
    size: tuple[int, int] | None = None,
    threads: int = 1,
) -> np.ndarray:
    """RGB frames at `indices` in the order given, (T, height, width, 3) uint8, upright.

    Args:
        path: a video file.
        indices: positions by presentation time, 0 to frames - 1.
        decoder: "auto", "decord" (reads in order from the start where its seeking is not proven), "pyav" or
            "torchcodec" (where it is installed, on files that it is proven for).
        info: what `probe` said; its number of frames must still hold.
        size: (height, width) that frames are scaled to as they come, so that one of the file's size is in memory at a
            time in each thread; None for that of the file.
        threads: to read with; decord has one.

    Raises:
        DecodeError: the file is damaged, an index is out of range, or the file holds other frames than `info` says.
        ConfigError: no such decoder.
    """
    return read_frames_by(path, indices, decoder, info, size, threads)[0]


def read_frames_by(
    path: str,
    indices: Sequence[int] | np.ndarray,
    decoder: str = "auto",
    info: VideoInfo | None = None,
    size: tuple[int, int] | None = None,
    threads: int = 1,
    truncated: bool = False,
) -> tuple[np.ndarray, VideoInfo]:
    """As `read_frames`, with the file's info naming the decoder that read it; `truncated` as in `probe`."""
    wanted_T = np.asarray(indices, np.int64).reshape(-1)
    distinct_T, place_T = np.unique(wanted_T, return_inverse=True)
    sink = FrameArray()
    used = read_into(sink, path, distinct_T, decoder, info, size, threads, truncated)
    if len(distinct_T) == len(wanted_T) and np.array_equal(place_T, np.arange(len(wanted_T))):
        return sink.frames_THWC, used
    height, width = size or (used.height, used.width)
    require_memory(used.path, len(wanted_T), height, width)
    return sink.frames_THWC[place_T], used


def read_into(
    sink: FrameSink,
    path: str,
    indices: np.ndarray,
    decoder: str = "auto",
    info: VideoInfo | None = None,
    size: tuple[int, int] | None = None,
    threads: int = 1,
    truncated: bool = False,
) -> VideoInfo:
    """As `read_frames_by`, of strictly increasing `indices` into a sink; gives the info alone."""
    check_decoder(decoder)
    path = os.fspath(path)
    scan = _scans.get(path, truncated)
    for _ in range(2):
        chosen = _info(scan, decoder)
        if info is not None and info.frames != scan.frames:
            raise DecodeError(path, f"has {scan.frames} frames where {info.frames} were announced")
        height, width = size or (scan.height, scan.width)
        if not len(indices):
            sink.begin(0, height, width, threads=1)
            return chosen
        low, high = int(indices[0]), int(indices[-1])
        if low < 0 or high >= scan.frames:
            raise DecodeError(path, f"has no frame {low if low < 0 else high}: they are 0 to {scan.frames - 1}")
        require_memory(path, sink.held(len(indices), height, width), height, width)
        try:
            _read(sink, scan, indices.tolist(), decoder, size, threads)
        except MemoryError as error:
            raise DecodeError(
                path, "its decoder asks for more memory than a decode process may take: scale the video down"
            ) from error
        except TableMismatch:
            scan = _scans.put(path, pyav_scan.scan(path, by_decoding=True, truncated=truncated))
            continue
        return chosen
    raise DecodeError(path, "shows other frames each time it is read")


def _read(
    sink: FrameSink, scan: Scan, indices: list[int], decoder: str, size: tuple[int, int] | None, threads: int
) -> None:
    if decoder in ("auto", "pyav"):
        return pyav_reader.read_sparse_into(sink, scan, indices, size, threads)
    whole = (scan.height, scan.width)
    resize = FrameResize(whole, size or whole)
    if decoder == "torchcodec":
        return torchcodec_reader.read_into(sink, scan, indices, resize, threads)
    return decord_reader.read_into(sink, scan.path, indices, scan.frames, resize, in_order=bool(decord_doubt(scan)))
