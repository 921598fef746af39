"""Decoded and scaled clips on disk, so that a video is decoded at the first visit and mapped at all others.

One safetensors file a clip, named by the sha256 of what the clip was asked by: video, sampler, frames, size, decoder.
Files come into being whole under their names, so any number of processes, of one run or of several, share a folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from liteframe.data.decoding.processes.job import DecodeJob
from liteframe.data.remote.file import is_url
from liteframe.data.store.videos import video_facts
from liteframe.errors import ConfigError
from liteframe.system.atomic import atomic_open

log = logging.getLogger(__name__)
_SUFFIX = ".clip.safetensors"
_FORMAT = 1
_COUNT_AGAIN_S = 1.0
_OWN_SAMPLERS = "liteframe.data.sampling."


@dataclass(frozen=True, eq=False)
class StoredFrames:
    """Frames that a store keeps, scaled, without padding.

    Attributes:
        frames_TCHW: uint8.
        indices: numbers of the frames in the video.
        decoder: that read them; None where it is not known.
        times_s: seconds from the first frame of the video to each; None where it is not known.
    """

    frames_TCHW: torch.Tensor
    indices: tuple[int, ...]
    decoder: str | None = None
    times_s: tuple[float, ...] | None = None


@dataclass
class _Usage:
    """Bytes of all clips in a folder, and when they were counted."""

    bytes: int = 0
    counted_at: float = float("-inf")


@dataclass(frozen=True)
class ClipStore:
    """A folder of clips. Once it is full, the clips in it stay and others are decoded at each visit.

    That is the best that can be done for epochs, each of which visits every video once: a store that made room for the
    newest clips would have let go of each before its next visit.

    Args:
        folder: made where it does not exist. Files in it that are no clips are left alone.
        gigabytes: most that the clips take, in 1e9 bytes; more only by what all processes write within a second.

    Raises:
        ConfigError: `gigabytes` is not above 0.
    """

    folder: str
    gigabytes: float = 100.0
    _usage: _Usage = field(default_factory=_Usage, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.gigabytes > 0:
            raise ConfigError(f"data.clip_store.gigabytes is {self.gigabytes}; give a number above 0")

    def prepare(self) -> None:
        """Makes the folder. Raises ConfigError where it cannot be made or written to."""
        try:
            os.makedirs(self.folder, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"data.clip_store.folder {self.folder}: cannot be made ({error.strerror or error}); give another"
            ) from error
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise ConfigError(f"data.clip_store.folder {self.folder}: cannot be written to; give another")

    def request(self, job: DecodeJob, decoder: str) -> str | None:
        """What the frames of a job depend on, as text; None where another visit would draw others.

        A file counts by its size and both its ends, wherever it lies, and a URL by its address.

        Args:
            job: of a training sample or of another.
            decoder: that the data module was told.
        """
        if job.size is None or (job.indices is None and job.sampler.random):
            return None
        if job.indices is not None:
            choice: dict[str, object] = {"indices": job.indices}
        else:
            choice = {"sampler": job.sampler.describe(), "frames": job.num_frames, "part": [job.start_s, job.end_s]}
            if not type(job.sampler).__module__.startswith(_OWN_SAMPLERS):
                choice["row"] = job.row  # which a sampler of the user's own may look at
        try:
            video = {"url": job.path} if is_url(job.path) else video_facts(job.path, None)
        except OSError:
            return None  # decoding says what is wrong with it
        request = {
            "format": _FORMAT,
            "video": video,
            **choice,
            "size": job.size,
            "decoder": [decoder, job.row.get("decoder")],
            "truncated": job.truncated,
        }
        return json.dumps(request, sort_keys=True, default=repr)

    def read(self, request: str, timed: bool = False) -> StoredFrames | None:
        """The clip of a request; None where it is not there. One whose bytes have changed is not, and is said.

        Args:
            request: see `request`.
            timed: only a clip that tells when its frames are, which those of earlier versions do not.
        """
        path = self._path(request)
        if not path.is_file():
            return None
        try:
            with safe_open(path, "pt") as file:
                about = file.metadata() or {}
                frames_TCHW, indices_T = file.get_tensor("frames"), file.get_tensor("indices")
                times_T = file.get_tensor("times") if "times" in file.keys() else None  # noqa: SIM118
            if about["request"] != request or int(about["crc32"]) != _crc32(frames_TCHW, times_T):
                raise ValueError("its bytes have changed")
            if timed and times_T is None:
                return None
            times_s = None if times_T is None else tuple(times_T.tolist())
            clip = StoredFrames(frames_TCHW, tuple(indices_T.tolist()), about["decoder"] or None, times_s)
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            log.warning("%s: cannot be used (%s); its video is decoded again", path, error)
            return None
        return clip

    def write(self, request: str, clip: StoredFrames) -> None:
        """Keeps a clip where there is room; what goes wrong with the disk is said, and decoding goes on without."""
        path, frames_TCHW = self._path(request), clip.frames_TCHW.contiguous()
        tensors = {"frames": frames_TCHW, "indices": torch.tensor(clip.indices, dtype=torch.int64)}
        if clip.times_s is not None:
            tensors["times"] = torch.tensor(clip.times_s, dtype=torch.float64)
        crc32 = _crc32(frames_TCHW, tensors.get("times"))
        about = {"request": request, "crc32": str(crc32), "decoder": clip.decoder or ""}
        try:
            if self._bytes() + frames_TCHW.nbytes > self.gigabytes * 1e9:
                return
            with atomic_open(path, sync=False) as file:  # after a power cut, the checksum tells
                file.write(save(tensors, about))
        except OSError as error:
            log.warning("%s: cannot be written (%s); its video is decoded again at the next visit", path, error)
            return
        self._usage.bytes += frames_TCHW.nbytes

    def _path(self, request: str) -> Path:
        return Path(self.folder, hashlib.sha256(request.encode()).hexdigest() + _SUFFIX)

    def _bytes(self) -> int:
        """Bytes of all clips: counted anew once a second, as other processes write too."""
        now = time.monotonic()
        if now - self._usage.counted_at > _COUNT_AGAIN_S:
            with os.scandir(self.folder) as entries:
                self._usage.bytes = sum(entry.stat().st_size for entry in entries if entry.name.endswith(_SUFFIX))
            self._usage.counted_at = now
        return self._usage.bytes


def _crc32(frames_TCHW: torch.Tensor, times_T: torch.Tensor | None) -> int:
    of_frames = zlib.crc32(frames_TCHW.flatten().numpy().data)
    return of_frames if times_T is None else zlib.crc32(times_T.numpy().tobytes(), of_frames)
