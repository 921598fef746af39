"""Which files may be opened as videos: containers that hold all of their streams, and no lists of other files.

FFmpeg also reads playlists, whose lines make it open other files and connections; such a file is told by its first
bytes, whatever its name ends in, and refused.
"""

from __future__ import annotations

import re

from liteframe.data.remote.content import not_a_video

HEAD_BYTES = 4096

_CONTAINERS = "mov,matroska,webm,avi,mpegts,mpeg,flv,live_flv,asf,asf_o,ogg,nut,mxf,gxf,dv,ivf,rm,wtv,nsv,nuv,swf,dhav"
_BARE = "h261,h263,h264,hevc,vvc,evc,av1,obu,m4v,mpegvideo,mjpeg,mjpeg_2000,vc1,dirac,cavsvideo,avs2,avs3,dnxhd"
_RAW = f"{_BARE},smjpeg,vc1test,yuv4mpegpipe"
BARE_STREAMS = frozenset(_BARE.split(","))
"""FFmpeg's names of codec streams without a container, for which it assumes 25 frames a second if they tell no rate."""

_PICTURES = (
    "gif,apng,jpegxl_anim,bmp_pipe,gif_pipe,jpeg_pipe,jpegxl_pipe,pgm_pipe,png_pipe,ppm_pipe,tiff_pipe,webp_pipe"
)
# so that the error of a sound file is that it has no video
_SOUND = "aac,flac,mp3,wav"
SELF_CONTAINED = ",".join((_CONTAINERS, _RAW, _PICTURES, _SOUND))
"""FFmpeg's names of the formats that are read, as its option `format_whitelist` takes them."""

_TEXT_LISTS = (
    (re.compile(rb"#EXTM3U|#EXTINF"), "a playlist (m3u8)"),
    (re.compile(rb"ffconcat version"), "a list of files (ffconcat)"),
    (re.compile(rb"\[(playlist|reference)\]", re.IGNORECASE), "a playlist"),
    (re.compile(rb"v=0\r?\n"), "a description of network streams (SDP)"),
    (re.compile(rb"RTSPtext|rtsp://", re.IGNORECASE), "a link to a network stream (RTSP)"),
)
_XML_LIST = re.compile(rb"<(\w+:)?(MPD|SmoothStreamingMedia|CompositionPlaylist|AssetMap|asx|smil)\b", re.IGNORECASE)

_PICTURE_STARTS = (
    (re.compile(rb"\xff\xd8\xff"), "JPEG"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG"),
    (re.compile(rb".{4}ftyp(hei[cmsx]|mif[12])", re.DOTALL), "HEIC"),
    (re.compile(rb".{4}ftypavif", re.DOTALL), "AVIF"),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), "WebP"),
    (re.compile(rb"BM.{4}\0\0\0\0", re.DOTALL), "BMP"),
    (re.compile(rb"II\*\0|MM\0\*"), "TIFF or camera raw"),
    (re.compile(rb"8BPS\0"), "Photoshop"),
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "), "JPEG XL"),
)

_FIRST_BYTES = {
    "mov": re.compile(rb".{4}(ftyp|moov|mdat|free|skip|wide|pnot|styp)", re.DOTALL),
    "matroska": re.compile(rb"\x1a\x45\xdf\xa3"),
    "avi": re.compile(rb"RIFF.{4}AVI", re.DOTALL),
    "flv": re.compile(rb"FLV\x01"),
    "mpegts": re.compile(rb"(.{4})?(\x47.{187}(.{4}|.{16})?){4}", re.DOTALL),
    "mpeg": re.compile(rb"\0\0\x01\xba"),
    "asf": re.compile(rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
    "ogg": re.compile(rb"OggS"),
    "ivf": re.compile(rb"DKIF"),
}


def playlist_kind(head: bytes) -> str:
    """What kind of list of other files the first bytes of a file begin, in words; empty where they do not."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    named = _XML_LIST.search(text) if text.startswith(b"<") else None
    if named is not None:
        return f"a playlist ({named[2].decode()})"
    return next((kind for pattern, kind in _TEXT_LISTS if pattern.match(text)), "")


def is_animated_webp(head: bytes) -> bool:
    """Whether a file that begins like this is a WebP of several pictures."""
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) > 20 and head[20] & 2 != 0


def likely_kind(head: bytes) -> str:
    """What a file that cannot be opened as a video seems to be, by its first bytes, in words; empty for no idea."""
    if head and not head.strip(b"\0"):
        return "a row of zero bytes, as of a download that did not come to its end; fetch it again"
    picture = next((kind for pattern, kind in _PICTURE_STARTS if pattern.match(head)), "")
    return f"a picture ({picture}), not a video" if picture else not_a_video(head)


def is_unmistakable(container: str, head: bytes) -> bool:
    """Whether a file begins as those of its container do, so that FFmpegs of other ages take it for the same.

    Args:
        container: FFmpeg's name, of which the first word counts ("mov,mp4,...").
        head: the first `HEAD_BYTES` of the file.
    """
    pattern = _FIRST_BYTES.get(container.split(",")[0])
    return pattern is not None and pattern.match(head) is not None


def container_of(head: bytes) -> str:
    """The first word of FFmpeg's name of the container that a file begins as; empty where it is none of the known."""
    return next((name for name, pattern in _FIRST_BYTES.items() if pattern.match(head)), "")


def lists_streams(head: bytes) -> bool:
    """Whether a file begins as those of a container that lists its streams at its start."""
    return container_of(head) not in ("", "flv", "mpeg")
