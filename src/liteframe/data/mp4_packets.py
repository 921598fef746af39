"""When the frames of a plain MP4 or QuickTime file are shown: from its tables, and few of its packets."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np

from liteframe.data import packet_table
from liteframe.data.ffmpeg_log import FFmpegLog
from liteframe.data.mp4_samples import Samples, read_samples
from liteframe.data.packet_table import (
    PacketTable,
    decoded,
    has_idr,
    length_bytes_of,
    require_within,
    table_of,
)
from liteframe.data.pyav_open import open_file

# of others the first bytes of each packet must be seen
_TOLD_BY_TABLES = {"h264", "hevc", "av1", "vp9", "mpeg4"}
_COMPARED = 8
"""Packets that FFmpeg must give as the tables say."""


def read_tables(path: str, container: Any, stream: Any, log: FFmpegLog) -> tuple[PacketTable | None, Any] | None:
    """As `read_packets` for a plain MP4 or QuickTime file, of which its tables and first frames only are read.

    None where the tables are odd or FFmpeg gives its first packets otherwise than they say. The container must be
    opened anew then.

    Raises:
        DecodeError: the container is cut short, or the first frame is damaged.
    """
    codec = stream.codec_context.codec.canonical_name
    if not container.format.name.startswith("mov,") or codec not in _TOLD_BY_TABLES:
        return None
    with open_file(path) as file:
        samples = read_samples(file, stream.id, packet_table.MOST_PACKETS)
        if samples is None:
            return None
        require_within(path, samples.offsets_S + samples.sizes_S)
        packets, first = _first_packets(path, container, stream, log)
        shift = _shift(samples, packets)
        if shift is None or first is None:
            return None
        fresh = codec != "h264" or _all_have_idr(file, samples, length_bytes_of(stream))
    pts_P, key_P = samples.cts_S + shift[0], samples.key_S
    pts_T, key_pts_P, key_dts_P = np.sort(pts_P), pts_P[key_P], samples.dts_S[key_P] + shift[1]
    early = bool((key_dts_P[1:] <= key_pts_P[:-1]).any())
    return table_of(pts_P, pts_T, key_P, codec, fresh, 0, early), first


def _first_packets(path: str, container: Any, stream: Any, log: FFmpegLog) -> tuple[list[Any], Any]:
    """Some packets, until the decoder has given a frame, and that frame."""
    import av

    packets: list[Any] = []
    first = None
    try:
        for packet in container.demux(stream):
            if first is None:
                with log.listening():
                    first = decoded(path, packet)
            if packet.size:
                packets.append(packet)
            if first is not None and len(packets) >= _COMPARED:
                break
    except av.error.FFmpegError:
        return [], None
    return packets, first


def _shift(samples: Samples, packets: list[Any]) -> tuple[int, int] | None:
    """From the times of the tables to those that FFmpeg gives, of showing and decoding; None where others differ."""
    shifts = set()
    for index, packet in enumerate(packets):
        told = None if index >= len(samples.key_S) else (samples.offsets_S[index], samples.sizes_S[index])
        if told != (packet.pos, packet.size) or packet.is_discard or packet.is_corrupt:
            return None
        if packet.is_keyframe != samples.key_S[index] or packet.pts is None or packet.dts is None:
            return None
        shifts.add((packet.pts - int(samples.cts_S[index]), packet.dts - int(samples.dts_S[index])))
    return shifts.pop() if len(shifts) == 1 else None


def _all_have_idr(file: BinaryIO, samples: Samples, length_bytes: int) -> bool:
    """Whether each key sample of H.264 holds an IDR picture, by the first bytes of its units only."""
    for start, size in zip(samples.offsets_S[samples.key_S], samples.sizes_S[samples.key_S], strict=True):
        if not _sample_has_idr(file, int(start), int(size), length_bytes):
            return False
    return True


def _sample_has_idr(file: BinaryIO, start: int, size: int, length_bytes: int) -> bool:
    position, end = start, start + size
    if not length_bytes:
        file.seek(start)
        return has_idr(memoryview(file.read(size)), 0)
    while position + length_bytes < end:
        file.seek(position)
        head = file.read(length_bytes + 1)
        if len(head) <= length_bytes:
            return False
        if head[length_bytes] & 31 == 5:
            return True
        position += length_bytes + int.from_bytes(head[:length_bytes], "big")
    return False
