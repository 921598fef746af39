"""Reads frames from one open video by seeking: lands on key frames, and decodes what the wanted frames need."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import chain
from typing import Any

import numpy as np

from liteframe.data.decoding.bitstream.unreferenced import Finder, Misjudged, unreferenced_finder
from liteframe.data.decoding.pyav.in_order import frames_held_back
from liteframe.data.decoding.pyav.opening import Opened, packets_of
from liteframe.data.decoding.pyav.scan import Scan

_JPEG_TABLES = b"\xff\xdb", b"\xff\xc4"
"""Markers of the tables of quantisation and of Huffman codes; the codes themselves never look like them."""
_WORTH_A_SEEK = 4
"""Frames in between that are sooner decoded than passed over."""
_DENSE = 1.25
"""Pictures for each wanted frame up to which it costs more to find those that need not be decoded."""
_SMALL = 128 * 128
"""Pixels of pictures up to which it takes as long to read a header as to decode the picture."""


class SeekMiss(Exception):
    """A seek did not lead to the wanted frames, or not without a doubt."""


@dataclass(frozen=True)
class Run:
    """Wanted frames that are read from one landing on.

    Attributes:
        key: of the key frame to land on, its place in the table of key frames; None for the start of the file.
        frames: index and slot of each, ascending.
        cost: about how many pictures are decoded.
    """

    key: int | None
    frames: list[tuple[int, int]]
    cost: int


def plan(scan: Scan, indices: list[int], run_up: int, enough: float = math.inf) -> list[Run]:
    """Runs that hold strictly increasing `indices`, each from the key frame before, or `run_up` groups earlier.

    The slot of a frame is its place in `indices`. A run that costs `enough` ends at the next key frame, if decoding can
    start afresh there.
    """
    assert scan.pts_T is not None
    keys_K = np.searchsorted(scan.pts_T, scan.key_pts_K)
    key_T = np.searchsorted(keys_K, indices, side="right") - 1
    runs, here = [Run(None, [], 0)], 0
    for slot, (index, key) in enumerate(zip(indices, key_T.tolist(), strict=True)):
        landing = int(keys_K[max(key - run_up, 0)]) if key >= 0 else 0
        if landing > here + _WORTH_A_SEEK or (landing >= here and runs[-1].cost >= enough and not scan.open_groups):
            runs.append(Run(key, [], 0))
            here = landing
        last = runs[-1]
        last.frames.append((index, slot))
        runs[-1] = Run(last.key, last.frames, last.cost + index + 1 - here)
        here = index + 1
    return [run for run in runs if run.frames]


class Seeker:
    """Reads runs from one open video.

    Args:
        opened: what `open_video` gives.
        fresh: nothing has been read of it yet.
        scan: of the file.
        run_up: groups of pictures that are decoded before the wanted one. Decoders complain of groups that begin with
            what refers to the group before, unless they have seen that one.
        sparing: leave pictures undecoded that no other refers to, where that is proven.
    """

    def __init__(self, opened: Opened, fresh: bool, scan: Scan, run_up: int, sparing: bool) -> None:
        self._container, self._stream, self._log = opened
        self._fresh = fresh
        self._scan, self._run_up, self._sparing = scan, run_up, sparing

    def read(self, run: Run, use: Callable[[int, Any], None]) -> None:
        """Calls `use` with the slot and the frame of each that is wanted, as they come.

        Raises:
            SeekMiss: not all came, or something on the way is damaged or odd.
        """
        import av

        if run.key is None and not self._fresh:
            if not self._begins_with_key():
                raise SeekMiss
            run = Run(0, run.frames, run.cost)
        self._fresh = False
        try:
            small = self._scan.width * self._scan.height <= _SMALL
            sparing = self._sparing and not small and run.cost > _DENSE * len(run.frames)
            finder = unreferenced_finder(self._stream) if sparing else None
            reading = _Reading(self._scan, run, use, finder)
            self._read(self._packets_from(run.key), reading)
        except (av.error.FFmpegError, Misjudged) as error:
            raise SeekMiss from error

    def _begins_with_key(self) -> bool:
        keys_K, pts_T = self._scan.key_pts_K, self._scan.pts_T
        return pts_T is not None and len(keys_K) > 0 and keys_K[0] == pts_T[0]

    def _packets_from(self, key: int | None) -> Iterator[Any]:
        """Packets from the start, or from a key frame on that is `run_up` groups before the one asked for."""
        if key is None:
            return packets_of(self._scan.path, self._container, self._stream)
        wanted = max(key - self._run_up, 0)
        for back in (0, 1, 2, 4):  # demuxers that seek by time of decoding land late
            time = int(self._scan.key_pts_K[max(wanted - back, 0)])
            self._container.seek(time, stream=self._stream, backward=True, any_frame=False)
            packets = packets_of(self._scan.path, self._container, self._stream)
            first = next(packets, None)
            if first is not None and first.pts is not None and first.pts <= self._scan.key_pts_K[wanted]:
                return chain([first], packets)
        raise SeekMiss

    def _read(self, packets: Iterator[Any], reading: _Reading) -> None:
        # the scan has heard the demuxer on the whole file; seeking adds remarks
        with self._log.hearing(demuxer=False) as take_note:
            for packet in packets:
                if reading.begins_with(packet):
                    self._require_own_tables(packet)
                frames = [] if reading.leaves_out(packet) else packet.decode()
                take_note()
                if not reading.begun:
                    self._log.forget()
                if self._log.damage:
                    raise SeekMiss
                for frame in frames:
                    reading.take(frame)
                if reading.is_over():
                    break
        with self._log.listening():  # frames that were read may refer to one that is held back
            rest = frames_held_back(self._stream)
        if self._log.damage or any(frame.is_corrupt for frame in rest):
            raise SeekMiss
        reading.end(rest)

    def _require_own_tables(self, packet: Any) -> None:
        """Refuses to land on a JPEG that lacks tables: it is decoded by those of pictures before, without a word."""
        if self._stream.codec_context.codec.name == "mjpeg":
            data = bytes(packet)
            if any(marker not in data for marker in _JPEG_TABLES):
                raise SeekMiss


class _Reading:
    """How far one run has come: which packets went in, and which frames have to come out.

    Attributes:
        begun: the key frame that is landed on has gone in, so that what decoders say now counts.
    """

    def __init__(self, scan: Scan, run: Run, use: Callable[[int, Any], None], finder: Finder | None) -> None:
        assert scan.pts_T is not None
        self._use, self._finder = use, finder
        self._pts_T = memoryview(scan.pts_T)  # type: ignore[arg-type] # numbers of it are made sooner than of the array
        self._key = None if run.key is None else int(scan.key_pts_K[run.key])
        self._next = self._first = 0 if self._key is None else bisect_left(self._pts_T, self._key)
        self._wanted = dict(run.frames)
        self._not_in, self._left_out, self._due = set(self._wanted), set[int](), list[int]()
        self._earliest: int | None = None
        self.begun = self._key is None

    def begins_with(self, packet: Any) -> bool:
        """Whether `packet` is the key frame that was landed on."""
        if self.begun or packet.pts != self._key:
            return False
        self.begun = True
        return True

    def leaves_out(self, packet: Any) -> bool:
        """Whether a packet need not be decoded; those that need be are noted."""
        if self._finder is None:
            return False
        place = self._place(packet.pts)
        if self._earliest is None and place is not None:
            self._earliest = place
        if packet.size and self._finder(packet, place) and self._may_miss(place):
            if place is not None:
                self._left_out.add(place)
            return True
        if place is not None and self.begun and place >= self._first and not packet.is_discard:
            heappush(self._due, place)
            self._not_in.discard(place)
        return False

    def _may_miss(self, place: int | None) -> bool:
        """Not what is wanted, nor what is shown before the first picture of the file: decoders may pass over it."""
        return place not in self._wanted and (place is None or self._key is not None or place > (self._earliest or 0))

    def take(self, frame: Any, in_order: bool = True) -> None:
        """Uses a frame if it is wanted; frames before the key frame are passed over."""
        pts = frame.pts
        if self._key is not None and pts is not None and pts < self._key:
            return
        place = self._place(pts)
        while self._next in self._left_out:
            self._next += 1
        if place is None or (in_order and place != self._next) or frame.is_corrupt:
            raise SeekMiss
        if self._key is not None and place == self._first and not frame.key_frame:
            raise SeekMiss  # the decoder too must take it for one that needs no others
        if self._finder is not None and (not self._due or heappop(self._due) != place):
            raise SeekMiss
        self._next = place + 1
        if place in self._wanted:
            self._use(self._wanted.pop(place), frame)

    def is_over(self) -> bool:
        """Whether nothing more has to go in."""
        return not self._wanted or (self._finder is not None and self._finder.at_once and not self._not_in)

    def end(self, rest: list[Any]) -> None:
        """Takes what the decoder had held back."""
        if self._finder is not None and self._finder.at_once:
            for frame in rest:
                self.take(frame, in_order=False)
            if self._due:
                raise SeekMiss
        if self._wanted:
            raise SeekMiss

    def _place(self, pts: int | None) -> int | None:
        """Of a time in the table; None for those that are not in it."""
        if pts is None:
            return None
        place = bisect_left(self._pts_T, pts)
        return place if place < len(self._pts_T) and self._pts_T[place] == pts else None
