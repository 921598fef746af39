"""What differs between the PyAVs from 14 on, said once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from liteframe.data.decoding.containers.formats import lists_streams
from liteframe.data.decoding.transparency import may_be_transparent, over_white

_DECODED_CODECS = {"libdav1d": "av1", "libaom-av1": "av1", "libvpx-vp9": "vp9", "libvpx": "vp8"}

_BT709, _FULL_RANGE = 1, 2
"""FFmpeg's numbers."""


def argument_error() -> type[Exception]:
    """What FFmpeg's "invalid argument" is raised as."""
    import av

    names = vars(av.error)
    return names.get("ArgumentError") or names["ValueError"]  # before 17


def text_options() -> dict[str, Any]:
    """What keeps `av.open` from failing at tags that are no UTF-8; 19 replaces what it cannot read by itself."""
    import av

    return {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


def open_options(head: bytes, options: dict[str, str]) -> dict[str, dict[str, str]]:
    """How `av.open` takes options, those of its decoders too.

    Before 17 PyAV crashes where it has some for the decoders of a container that lists its streams on the way only.
    """
    import av

    safe = int(av.__version__.split(".")[0]) >= 17 or lists_streams(head)
    return {"options" if safe else "container_options": options}


def codec_of(stream: Any) -> str:
    """FFmpeg's name of the codec of a stream, whichever of its decoders reads it."""
    codec = stream.codec_context.codec
    if hasattr(codec, "canonical_name"):
        return codec.canonical_name
    return _DECODED_CODECS.get(codec.name, codec.name)  # 14


def pixel_format_of(context: Any) -> str:
    """FFmpeg's name of the format of pictures; empty where it is not known, where the `pix_fmt` of 17 crashes."""
    return getattr(context.format, "name", "")


def disposition_of(stream: Any) -> int | None:
    """FFmpeg's flags of a stream; None where PyAV does not tell, as 14.0."""
    return stream.disposition.value if hasattr(stream, "disposition") else None


def brings_parameters(packet: Any, container: str) -> bool:
    """Whether a packet comes with new parameters for its decoder, or may: 14 does not tell."""
    if hasattr(packet, "has_sidedata"):
        return bool(packet.has_sidedata("new_extradata"))
    return container == "flv"


def ends_of_samples(stream: Any) -> np.ndarray:
    """Where the samples of a stream's index end in the file, (samples,) int64; () before 17."""
    return np.array([entry.pos + entry.size for entry in getattr(stream, "index_entries", ())], np.int64)


def rgb_converter(codec: str, container: str) -> Callable[[Any], np.ndarray]:
    """A function of frames to their pictures (height, width, 3) uint8, as they are stored; on white if transparent.

    Args:
        codec: FFmpeg's name of the codec that they come from.
        container: FFmpeg's name of the container.
    """
    opaque, with_alpha = frame_converter("rgb24"), frame_converter("rgba")

    def convert(frame: Any) -> np.ndarray:
        if may_be_transparent(frame.format.name, codec, container):
            return over_white(with_alpha(frame).to_ndarray())
        return opaque(frame).to_ndarray()

    return convert


def frame_converter(pixel_format: str) -> Callable[[Any], Any]:
    """A function of frames to frames of FFmpeg's `pixel_format`, in one thread.

    Processes run side by side, and for a small frame starting threads costs ten times the conversion.
    """
    from av.video.reformatter import VideoReformatter

    options = {"threads": 1} if _has_threads() else {}
    if _heeds_colours():
        reformatter = VideoReformatter()
        return lambda frame: reformatter.reformat(frame, format=pixel_format, **options)
    # One for each kind of colours: what a conversion was told stays with it.
    of_colours: defaultdict[tuple[Any, ...], Any] = defaultdict(VideoReformatter)

    def convert(frame: Any) -> Any:
        colours = _colours_of(frame)
        told = of_colours[frame.colorspace, colours.get("src_color_range")]
        return told.reformat(frame, format=pixel_format, **options, **colours)

    return convert


@cache
def _heeds_colours() -> bool:
    """Whether conversion goes by what a frame says of its colours; before 17 it takes all for limited BT.601."""
    import av

    return int(av.__version__.split(".")[0]) >= 17


def _colours_of(frame: Any) -> dict[str, str]:
    """What makes a PyAV before 17 heed the matrix and the range of a frame's YUV; nothing of other frames."""
    pixels = frame.format
    if pixels.is_rgb or len(pixels.components) < 3:
        return {}
    is_full = frame.color_range == _FULL_RANGE or pixels.name.startswith("yuvj")
    # The matrix is the frame's own, but only where the result is to have another, at which nothing looks in RGB.
    return {
        "dst_colorspace": "ITU601" if frame.colorspace == _BT709 else "ITU709",
        "src_color_range": "JPEG" if is_full else "MPEG",
        "dst_color_range": "MPEG",
    }


@cache
def _has_threads() -> bool:
    """Whether conversion can be told how many threads to start; where it cannot, it starts none."""
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter

    try:
        VideoReformatter().reformat(VideoFrame(16, 16, "yuv420p"), format="rgb24", threads=1)
    except TypeError:
        return False
    return True
