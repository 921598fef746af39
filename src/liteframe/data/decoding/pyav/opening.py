"""Opens a video with PyAV such that FFmpeg reads this one file and nothing else."""

from __future__ import annotations

import atexit
import os
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO, NoReturn

from liteframe.data.decoding import heartbeat
from liteframe.data.decoding.containers.cut_short import missing
from liteframe.data.decoding.containers.encryption import IS_ENCRYPTED, is_encrypted
from liteframe.data.decoding.containers.formats import (
    HEAD_BYTES,
    SELF_CONTAINED,
    container_of,
    is_animated_webp,
    likely_kind,
    playlist_kind,
)
from liteframe.data.decoding.ffmpeg_log import FFmpegLog
from liteframe.data.decoding.pyav_versions import argument_error, codec_of, disposition_of, open_options, text_options
from liteframe.data.decoding.video_file import fault_of
from liteframe.errors import DecodeError

MOST_PIXELS = 100_000_000
"""Pixels that a frame may have."""

_OPTIONS = {
    "format_whitelist": SELF_CONTAINED,
    "protocol_whitelist": "none",
    "enable_drefs": "0",
    "use_absolute_path": "0",
    "max_pixels": str(MOST_PIXELS),
}


# of a stream, as FFmpeg numbers them
_DEFAULT, _ATTACHED_PICTURE = 1, 0x400
_PICTURE_CODECS = {"mjpeg", "png", "bmp", "gif", "webp", "tiff"}

# under these FFmpeg looks for a series of pictures in files of their own, and not into the one that it was given
_PICTURE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".jxl", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


class _PlainFile:
    """An open file under a name in which FFmpeg sees no protocol and no pattern of picture numbers, only an ending."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        self._file, self._furthest = file, 0
        self.seek, self.tell = file.seek, file.tell
        suffix = re.sub(r"[^a-z0-9.]", "", os.path.splitext(path)[1].lower())
        self.name = "video" if suffix in _PICTURE_SUFFIXES else f"video{suffix}"

    def read(self, count: int) -> bytes:
        """Up to `count` bytes, which are a sign of life where they had not been read before."""
        data = self._file.read(count)
        place = self._file.tell()
        if place > self._furthest:
            self._furthest = place
            heartbeat.step()
        return data


def refuse(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    """For `av.open`: lets a video open nothing else."""
    raise PermissionError(f"a video may open no other files, as this one would {url!r}")


Opened = tuple[Any, Any, FFmpegLog]
"""An open container, the stream of it that is read, and the log of reading it."""


@contextmanager
def open_video(path: str, keep: bool = False) -> Iterator[Opened]:
    """The open container, the video stream of it that players show, and the log of opening it.

    Of several streams that is the one marked as the default; then FFmpeg's choice.

    Args:
        path: the video.
        keep: leave it open for who calls `reopen_video` next, unless something goes wrong.

    Raises:
        DecodeError: the file is missing, empty, a playlist, no video container, has no video stream or too large
            frames.
    """
    identity, log = _identity(path), FFmpegLog()
    with ExitStack() as stack:
        file = stack.enter_context(open_file(path))
        with log.listening(decoder=False):
            container = _open_container(path, file)
        stack.enter_context(container)
        stream = _video_stream(path, container)
        log.attend_to(container, stream)
        opened = container, stream, log
        yield opened
        if keep and not log.damage and os.name != "nt":  # where open files cannot be removed
            kept.put(identity, stack.pop_all(), opened)


@contextmanager
def reopen_video(path: str) -> Iterator[tuple[Opened, bool]]:
    """As `open_video`, or what it has kept of this file; and whether it is new, otherwise it must be sought first."""
    held = kept.take(_identity(path))
    if held is None:
        with open_video(path) as opened:
            yield opened, True
        return
    stack, opened = held
    with stack:
        yield opened, False


_Identity = tuple[int, ...]


def _identity(path: str) -> _Identity | None:
    """What a file has as long as it is the same; a process that was forked shares its place in it, and must not."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return os.getpid(), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class _Kept:
    """The video that was opened last, as finding out what a file holds takes as long as decoding several frames."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: tuple[_Identity, ExitStack, Opened] | None = None

    def put(self, identity: _Identity | None, stack: ExitStack, opened: Opened) -> None:
        """Holds a video, whose `stack` closes it, in place of the one before."""
        self.close()
        if identity is None:
            stack.close()
            return
        with self._lock:
            self._held = identity, stack, opened

    def take(self, identity: _Identity | None) -> tuple[ExitStack, Opened] | None:
        """The video, if it is the one that is meant; then it is held no more."""
        with self._lock:
            if self._held is None or self._held[0] != identity:
                return None
            (_, stack, opened), self._held = self._held, None
            return stack, opened

    def close(self) -> None:
        """Closes what is held."""
        with self._lock:
            held, self._held = self._held, None
        if held is not None and held[0][0] == os.getpid():
            held[1].close()


kept = _Kept()
atexit.register(kept.close)


def file_head(path: str) -> bytes:
    """The first bytes of a file, as `liteframe.data.decoding.containers.formats` looks at them."""
    with open_file(path) as file:
        return file.read(HEAD_BYTES)


@contextmanager
def open_file(path: str, buffered: bool = False) -> Iterator[BinaryIO]:
    """The file; `buffered` for who reads many small parts that lie near each other.

    Raises:
        DecodeError: there is none, it is empty, or may not be read.
    """
    fault = fault_of(path)  # before it is opened: a pipe would be waited for
    if fault:
        raise DecodeError(path, fault)
    if os.path.getsize(path) == 0:
        raise DecodeError(path, "the file is empty (0 bytes)")
    with ExitStack() as files:
        try:
            file = files.enter_context(open(path, "rb", buffering=-1 if buffered else 0))
        except OSError as error:
            raise DecodeError(path, f"cannot be opened: {error.strerror}") from error
        yield file


def _open_container(path: str, file: BinaryIO) -> Any:
    import av

    head = file.read(HEAD_BYTES)
    if kind := playlist_kind(head):
        raise DecodeError(path, f"is {kind}, which names other files or streams: list those themselves")
    if is_animated_webp(head):
        raise DecodeError(path, "is an animated WebP, which FFmpeg does not decode: convert it, to MP4 or GIF for one")
    file.seek(0)
    try:
        options = open_options(head, _OPTIONS)
        return av.open(_PlainFile(file, path), io_open=refuse, **text_options(), **options)  # type: ignore[call-overload]
    except (av.error.FFmpegError, ValueError, OSError) as error:
        why = error_text(error)
        if isinstance(error, argument_error()):  # what FFmpeg says of formats that are not on its list
            why = "it is not in a format that is read here, or damaged: convert it, to MP4 for one"
        if kind := likely_kind(head):
            raise DecodeError(path, f"is {kind}") from error
        if is_encrypted(file, container_of(head)):
            raise DecodeError(path, IS_ENCRYPTED) from error
        if lost := missing(file, container_of(head)):
            raise DecodeError(path, f"is cut short, and cannot be opened: {lost}; fetch or write it anew") from error
        raise DecodeError(path, f"cannot be opened: {why}") from error


def _video_stream(path: str, container: Any) -> Any:
    stream = shown_stream(container)
    if stream is None:
        kind = likely_kind(file_head(path))
        raise DecodeError(path, f"is {kind}" if kind else "has no video stream")
    return made_ready(path, stream)


def made_ready(path: str, stream: Any) -> Any:
    """The stream, to be decoded in this thread alone and with checksums.

    Raises:
        DecodeError: a codec that is not known, or too large frames.
    """
    context = stream.codec_context
    if context is None:
        raise DecodeError(path, "its video codec is not known to this FFmpeg")
    if context.width * context.height > MOST_PIXELS:
        raise DecodeError(
            path,
            f"has frames of {context.width}x{context.height} pixels, more than {MOST_PIXELS // 1_000_000} million:"
            " scale it down, or remove it",
        )
    # The pool has a process for each core; threads would only delay the first frame.
    context.thread_type = "NONE"
    context.options = {"max_pixels": _OPTIONS["max_pixels"], "err_detect": "crccheck"}
    return stream


def packets_of(path: str, container: Any, stream: Any) -> Iterator[Any]:
    """The packets of a stream from where its container is.

    Raises:
        DecodeError: another stream begins on the way, which PyAV does not expect.
    """
    try:
        for packet in container.demux(stream):
            heartbeat.step()
            yield packet
    except IndexError as error:
        raise DecodeError(path, "has streams that begin on the way, which are not read here: write it anew") from error


def moving_streams(container: Any) -> list[Any]:
    """The streams of a file that are videos, and no pictures of its cover."""
    return [stream for stream in container.streams.video if not _is_cover_picture(stream, container)]


def shown_stream(container: Any) -> Any:
    """The stream that players show; None where there is none."""
    streams = moving_streams(container)
    streams = [stream for stream in streams if (disposition_of(stream) or 0) & _DEFAULT] or streams
    best = container.streams.best("video")
    return next((stream for stream in streams if stream is best), max(streams, key=_pixels, default=None))


def _pixels(stream: Any) -> int:
    context = stream.codec_context
    return 0 if context is None else context.width * context.height


def _is_cover_picture(stream: Any, container: Any) -> bool:
    flags = disposition_of(stream)
    if flags is not None:
        return bool(flags & _ATTACHED_PICTURE)
    return len(container.streams) > 1 and stream.codec_context is not None and codec_of(stream) in _PICTURE_CODECS


def error_text(error: BaseException) -> str:
    """What an error of PyAV says, without the numbers around it."""
    return getattr(error, "strerror", None) or str(error)
