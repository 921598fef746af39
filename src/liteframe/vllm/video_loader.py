"""Bytes of a video file to frames, as everywhere in liteframe: its samplers, its reader, in a process with an end."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
from vllm.exceptions import VLLMValidationError
from vllm.multimodal.media.video import VideoMediaIO
from vllm.multimodal.video import VideoLoader

from liteframe.data.decoding.read_video import read_video
from liteframe.data.sampling import FpsCapped, UniformMidpoints, sampler_from
from liteframe.data.transforms import resize_uint8
from liteframe.errors import ConfigError
from liteframe.vllm.errors import request_errors

LOADER = "liteframe"
BY_REQUEST = ("num_frames", "fps")


class LiteFrameVideoIO(VideoMediaIO):
    """Which settings of videos a request may change of a server of liteframe's; others' servers are as they were."""

    @classmethod
    def merge_kwargs(
        cls, default_kwargs: dict[str, Any] | None, runtime_kwargs: dict[str, Any] | None
    ) -> dict[str, Any]:
        """The server's settings and a request's: of `fps` frames a second, the server's `num_frames` are the most.

        Raises:
            VLLMValidationError: a setting that no request may change, by name.
        """
        default, asked = default_kwargs or {}, runtime_kwargs or {}
        if default.get("video_backend") != LOADER:
            return super().merge_kwargs(default_kwargs, runtime_kwargs)
        if unknown := sorted(asked.keys() - set(BY_REQUEST)):
            raise VLLMValidationError(
                f"media_io_kwargs: a request can set {' and '.join(BY_REQUEST)} of videos, not {unknown[0]}",
                parameter="media_io_kwargs",
            )
        dropped = {"fps"} if "num_frames" in asked and "fps" not in asked else set()
        return {name: value for name, value in default.items() if name not in dropped} | asked


class LiteFrameVideoLoader(VideoLoader):
    """vLLM's name for what reads the frames of a video."""

    @classmethod
    def load_bytes(
        cls,
        data: bytes,
        num_frames: Any = 64,
        fps: Any = None,
        image_size: Any = None,
        sampler: dict[str, Any] | None = None,
        **unknown: Any,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Frames (T, height, width, 3) uint8 RGB, and what tells them from other frames of the same file.

        Args:
            data: the file.
            num_frames: frames to take, at most.
            fps: frames a second to take, in place of what `sampler` chooses.
            image_size: height and width in pixels; None is as in the file.
            sampler: name and settings of what chooses the frames; None is UniformMidpoints.
            unknown: is refused.

        Raises:
            VLLMUnprocessableEntityError: the file cannot be read.
            VLLMValidationError: a setting makes no sense.
        """
        with request_errors(), tempfile.NamedTemporaryFile(prefix="liteframe-video-") as file:
            if unknown:
                raise ConfigError(f"media_io_kwargs: a video has no {min(unknown)}; give {' or '.join(BY_REQUEST)}")
            if num_frames is None:
                raise ConfigError("media_io_kwargs: num_frames is null; give a whole number, 1 or more")
            chooses = None if sampler is None else sampler_from(sampler, "media_io_kwargs: sampler", ConfigError)
            if fps is not None:
                if isinstance(fps, bool) or not isinstance(fps, int | float) or not fps > 0:
                    raise ConfigError(f"media_io_kwargs: fps is {fps!r}; give a rate above 0, in frames a second")
                chooses = FpsCapped(fps)
            file.write(data)
            file.flush()
            video = read_video(file.name, num_frames, chooses or UniformMidpoints(), size=image_size)
        frames_THWC = video.frames_THWC
        if image_size is not None:
            resized_TCHW = resize_uint8(frames_THWC, (image_size[0], image_size[1]))
            frames_THWC = np.ascontiguousarray(resized_TCHW.permute(0, 2, 3, 1).numpy())
        return frames_THWC, {
            "video_backend": LOADER,
            "frames_indices": video.indices.tolist(),
            "frame_size": list(frames_THWC.shape[1:3]),
            "decoder": video.decoder,
        }
