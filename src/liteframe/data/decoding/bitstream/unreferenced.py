"""Which packets hold pictures that no other picture refers to, so that a reader may leave them undecoded.

Leaving one out that others do refer to gives wrong frames without a word: FFmpeg's H.264 decoder takes an earlier
picture instead. And where times of packets are wrong, only decoding shows it. So each codec has signs by which headers
or times that are wrong are found out before a frame is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol

from liteframe.data.decoding.bitstream.h26x_pictures import H264Pictures, HevcPictures, Picture
from liteframe.data.decoding.bitstream.nal_units import Unread
from liteframe.data.decoding.pyav_versions import codec_of


class Misjudged(Exception):
    """What was left out may have been referred to, packets are missing, or their times are wrong."""


class Finder(Protocol):
    """Told every packet from a key frame on, in order of decoding, and the place of its time among the frames of the
    file, if it has one: whether its picture may be left out.

    Attributes:
        at_once: a packet holds a whole picture, and its place is known to be right before the next one is read.
    """

    at_once: bool

    def __call__(self, packet: Any, place: int | None) -> bool: ...


def unreferenced_finder(stream: Any) -> Finder | None:
    """A test of the packets of one stream from a key frame on; None for codecs and structures that none is proven for.

    The test raises `Misjudged` where a packet shows that one before it should have been decoded, or that its time is
    wrong.
    """
    kind = _KINDS.get(codec_of(stream))
    try:
        return kind(bytes(stream.codec_context.extradata or b"")) if kind else None
    except (Unread, IndexError):  # a header that is cut short
        return None


class _Numbered:
    """Pictures of H.264 and HEVC that say themselves that none refers to them.

    Each tells its place in the order of display, which must be that of its time. In H.264 it also tells how many were
    before that others may refer to; in HEVC it lists them, and the decoder complains where one is not there.
    """

    at_once = True

    def __init__(self, read: Callable[[Any], Picture]) -> None:
        self._read = read
        self._next: int | None = None
        self._order = 0
        self._base: tuple[int, int] | None = None
        self._step = 0

    def __call__(self, packet: Any, place: int | None) -> bool:
        try:
            picture = self._read(packet)
        except Unread as error:
            raise Misjudged from error
        self._require_next_number(picture)
        self._require_place(self._unwrapped(picture), place, picture.fresh)
        return not picture.referenced and picture.alone

    def _require_next_number(self, picture: Picture) -> None:
        if picture.number is None:
            return
        if self._next is not None and not picture.fresh and picture.number != self._next:
            raise Misjudged
        self._next = (picture.number + picture.referenced) % picture.numbers

    def _unwrapped(self, picture: Picture) -> int:
        if picture.order is None:
            self._order = 0 if picture.fresh else self._order + 1
            return self._order
        ahead = (picture.order - self._order) % picture.orders
        order = self._order + ahead - (picture.orders if 2 * ahead > picture.orders else 0)
        if picture.fresh:
            order = picture.order
        if picture.anchors:
            self._order = order
        return order

    def _require_place(self, order: int, place: int | None, fresh: bool) -> None:
        """Orders go up by 1 or 2 from one frame to the next, as the encoder likes."""
        if fresh:
            self._base = None
        if place is None:
            return
        if self._base is None:
            self._base = order, place
            return
        orders, places = order - self._base[0], place - self._base[1]
        if not self._step and places:
            self._step = orders // places
        if orders != self._step * places or self._step not in (1, 2):
            raise Misjudged


class _Mpeg4:
    """Pictures of MPEG-4 that are called B by their header and are shown between the two decoded last that are not.

    Those of MPEG-1 and -2 are not left out: of damaged pictures these decoders may leave a part as it was in memory,
    without a word, and in memory is what was decoded before.
    """

    at_once = False  # times are known to be right when frames come out

    def __init__(self) -> None:
        self._low: int | None = None
        self._high: int | None = None

    def __call__(self, packet: Any, place: int | None) -> bool:
        if place is None:
            return False
        if self._high is None or place > self._high:
            self._low, self._high = self._high, place
            return False
        if self._low is None or place <= self._low or not self._is_plain_b(bytes(packet)):
            return False
        self._low = place  # they are decoded in the order in which they are shown
        return True

    @staticmethod
    def _is_plain_b(data: bytes) -> bool:
        codes = re.findall(rb"\x00\x00\x01(.)(.)", data, re.DOTALL)
        pictures = [kind for code, kind in codes if code == b"\xb6"]
        return len(pictures) == 1 and pictures[0][0] >> 6 == 2 and all(code in b"\xb2\xb6" for code, _ in codes)


_KINDS: dict[str, Callable[[bytes], Finder]] = {
    "h264": lambda extradata: _Numbered(H264Pictures(extradata, fields=False).read),
    "hevc": lambda extradata: _Numbered(HevcPictures(extradata).read),
    "mpeg4": lambda extradata: _Mpeg4(),
}
PROVEN = frozenset(_KINDS)
"""Codecs for which tests have shown that frames are the same with and without what is left out."""
