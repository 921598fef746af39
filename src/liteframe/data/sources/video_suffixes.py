"""Endings of files that are taken for videos."""

from __future__ import annotations

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".vob", ".divx"}
    | {".ts", ".m2t", ".m2ts", ".mts", ".flv", ".f4v", ".wmv", ".asf", ".3gp", ".3g2", ".ogv", ".ogm", ".qt"}
    | {".mxf", ".gxf", ".rm", ".rmvb", ".mk3d", ".y4m", ".gif", ".apng", ".avif", ".avifs", ".nut", ".ivf", ".wtv"}
    | {".mj2", ".ismv", ".cmfv", ".mp4v", ".mqv", ".insv", ".360", ".3gpp", ".3gp2", ".wm", ".dvr-ms", ".ogx", ".xvid"}
    | {".tp", ".trp", ".m2p", ".evo", ".tod", ".mpv", ".dv", ".dav", ".nsv", ".nuv", ".amv"}
    | {".h261", ".h263", ".h264", ".264", ".avc", ".h265", ".265", ".hevc", ".vvc", ".h266", ".266", ".obu", ".av1"}
    | {".mjpeg", ".mjpg", ".vc1", ".dnxhd", ".dnxhr", ".cavs", ".avs2", ".avs3"}
)
"""Lower-case endings of the files that a plain folder is searched for.

Of those that FFmpeg reads, not such as are mostly something else: pictures, sounds (.ogg), programs (.swf), and copies
and parts of other videos (.lrv, .m4s).
"""
