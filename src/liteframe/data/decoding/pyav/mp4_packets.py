"""When the frames of a plain MP4 or QuickTime file are shown: from its tables, and few of its packets."""

from __future__ import annotations

from typing import Any

import numpy as np

from liteframe.data.decoding.containers.mp4_samples import Samples, read_samples
from liteframe.data.decoding.ffmpeg_log import FFmpegLog
from liteframe.data.decoding.orientation import Orientation
from liteframe.data.decoding.pyav import packet_table
from liteframe.data.decoding.pyav.first_picture import FirstPicture, first_picture
from liteframe.data.decoding.pyav.mp4_keys import KEY_TESTS, all_keys_are
from liteframe.data.decoding.pyav.opening import open_file, packets_of
from liteframe.data.decoding.pyav.packet_table import PacketTable, field_finder, require_within, table_of
from liteframe.data.decoding.pyav_versions import codec_of

_COMPARED = 8
"""Packets that FFmpeg must give as the tables say."""


def read_tables(
    path: str, container: Any, stream: Any, log: FFmpegLog, told_orientation: Orientation | None = None
) -> tuple[PacketTable | None, FirstPicture] | None:
    """As `read_packets` for a plain MP4 or QuickTime file, of which its tables and first frames only are read.

    None where the tables are odd or FFmpeg gives its first packets otherwise than they say. The container must be
    opened anew then. `told_orientation` is as in `first_picture`.

    Raises:
        DecodeError: the container is cut short, or the first frame is damaged.
    """
    codec = codec_of(stream)
    if not container.format.name.startswith("mov,") or codec not in KEY_TESTS or field_finder(stream) is not None:
        return None
    with open_file(path, buffered=True) as file:
        samples = read_samples(file, stream.id, packet_table.MOST_PACKETS)
        if samples is None:
            return None
        require_within(path, samples.offsets_S + samples.sizes_S)
        packets, first = _first_packets(path, container, stream, log, told_orientation)
        shift = _shift(samples, packets)
        if shift is None or first is None:
            return None
        begin = _place(samples, packets[0])
        if samples.shown_S[:begin].any():
            return None
        key_S, shown_S = samples.key_S[begin:], samples.shown_S[begin:]
        if not all_keys_are(codec, file, samples, begin, stream):
            return None
    cts_P, dts_P, key_P = samples.cts_S[begin:][shown_S], samples.dts_S[begin:][shown_S], key_S[shown_S]
    if shown_S.all() and not key_P[0]:
        return None
    pts_P = cts_P + shift[0]
    key_pts_P, key_dts_P = pts_P[key_P], dts_P[key_P] + shift[1]
    early = bool((key_dts_P[1:] <= key_pts_P[:-1]).any())
    return table_of(pts_P, np.sort(pts_P), key_P, codec, True, int((~shown_S).sum()), early), first


def _first_packets(
    path: str, container: Any, stream: Any, log: FFmpegLog, told_orientation: Orientation | None
) -> tuple[list[Any], FirstPicture | None]:
    """Packets until some are shown and the first picture is known, and that picture."""
    import av

    packets: list[Any] = []
    first, shown = None, 0
    try:
        for packet in packets_of(path, container, stream):
            if first is None:
                with log.listening():
                    first = first_picture(path, packet, told_orientation)
            if packet.size:
                packets.append(packet)
                shown += not packet.is_discard
            if first is not None and shown >= _COMPARED:
                break
    except av.error.FFmpegError:
        return [], None
    return packets, first


def _shift(samples: Samples, packets: list[Any]) -> tuple[int, int] | None:
    """From the times of the tables to those that FFmpeg gives, of showing and decoding; None where others differ."""
    shifts = set()
    begin = _place(samples, packets[0]) if packets else len(samples.key_S)
    for index, packet in enumerate(packets, begin):
        told = None if index >= len(samples.key_S) else (samples.offsets_S[index], samples.sizes_S[index])
        if told != (packet.pos, packet.size) or packet.is_corrupt:
            return None
        if packet.is_keyframe != samples.key_S[index] or packet.is_discard == samples.shown_S[index]:
            return None
        if packet.is_discard:
            continue
        if packet.pts is None or packet.dts is None:
            return None
        shifts.add((packet.pts - int(samples.cts_S[index]), packet.dts - int(samples.dts_S[index])))
    return shifts.pop() if len(shifts) == 1 else None


def _place(samples: Samples, packet: Any) -> int:
    """The sample that a packet is, by where it lies in the file; behind the last one where it is none."""
    found = np.flatnonzero(samples.offsets_S == packet.pos)
    return int(found[0]) if len(found) else len(samples.key_S)
