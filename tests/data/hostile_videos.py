"""Files that are no plain videos: lists that name other files and servers, and videos whose tracks lie elsewhere."""

from __future__ import annotations

import struct

DASH = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S"
 profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet contentType="video">
<Representation id="1" mimeType="video/mp4" codecs="avc1.42" width="64" height="64" bandwidth="1000">
<BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>
"""
SDP = """v=0
o=- 0 0 IN IP4 127.0.0.1
s={}
c=IN IP4 127.0.0.1
t=0 0
m=video 5004 RTP/AVP 96
a=rtpmap:96 H264/90000
"""
PLAYLISTS = {
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile {}\n",
    "mpd": DASH,
    "sdp": SDP,
    "ism": '<?xml version="1.0"?><SmoothStreamingMedia MajorVersion="2" Url="{}"></SmoothStreamingMedia>',
    "asx": '<ASX version="3.0"><Entry><Ref href="{}"/></Entry></ASX>',
    "pls": "[playlist]\nFile1={}\nNumberOfEntries=1\n",
    "imf": '<?xml version="1.0"?><cpl:CompositionPlaylist><Id>{}</Id></cpl:CompositionPlaylist>',
}
"""Texts by their usual ending, with the place of what they name."""

_TO_DATA_REFERENCES = (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref")


def with_external_track(mp4: bytes, target: str) -> bytes:
    """An MP4 of one track that says its samples lie in `target`, as QuickTime's alias records do."""
    return rewrite(mp4, _TO_DATA_REFERENCES, _alias_entry(target))


def _alias_entry(target: str) -> bytes:
    volume, name = b"V", target.rsplit("/", 1)[-1].encode()
    path = volume + target.replace("/", ":").encode()
    record = bytes(10) + bytes([len(volume)]) + volume.ljust(27, b"\0") + bytes(12)
    record += bytes([len(name)]) + name.ljust(63, b"\0") + bytes(16) + struct.pack(">HH", 1, 1) + bytes(16)
    record += struct.pack(">HH", 2, len(path)) + path + bytes(len(path) % 2) + struct.pack(">hH", -1, 0)
    return struct.pack(">II", 0, 1) + struct.pack(">I4sI", 12 + len(record), b"alis", 0) + record


def rewrite(boxes: bytes, way: tuple[bytes, ...], body: bytes) -> bytes:
    """`boxes` with the body of the one at the end of `way` replaced, and the sizes around it set right."""
    out, position = b"", 0
    while position + 8 <= len(boxes):
        size, kind = struct.unpack(">I4s", boxes[position : position + 8])
        old = boxes[position + 8 : position + size]
        if kind == way[0]:
            old = body if len(way) == 1 else rewrite(old, way[1:], body)
        out += struct.pack(">I4s", 8 + len(old), kind) + old
        position += size
    return out
