"""What users have - paths, arrays, frames, pictures - as frames of one size."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from liteframe.data.decoding.pictures import in_rgb, open_picture, require_small
from liteframe.data.decoding.read_video import read_video as read_file
from liteframe.data.remote.file import local_path
from liteframe.data.sampling import FpsCapped, FrameSampler, UniformMidpoints
from liteframe.data.transforms import resize_uint8
from liteframe.errors import DataError
from liteframe.hf.frame_times import FrameRate


def list_of(kind: str, given: Any) -> list[Any]:
    """The videos, or images, of nested lists of them, in order.

    Args:
        kind: "video" or "image".
        given: one, a list, a list of lists (as `apply_chat_template` makes them), or None.
    """
    if given is None:
        return []
    if _is_path(given) or (_is_video(given) if kind == "video" else _is_frame(given)):
        return [given]
    if not isinstance(given, (list, tuple, np.ndarray, Tensor)):
        raise DataError(f"a {kind} is a path, an array or {_FORMS[kind]}, not {type(given).__name__}")
    return [item for part in given for item in list_of(kind, part)]


def read_video(
    video: Any,
    size: tuple[int, int],
    num_frames: int | None,
    fps: float | None,
    usual: FrameSampler | None = None,
    rate: FrameRate | None = None,
) -> tuple[Tensor, np.ndarray | None]:
    """A video as uint8 frames (T, 3, height, width), and the second of each, where that is known.

    A file is decoded in a process that is killed after two minutes.

    Args:
        video: path of a file, uint8 RGB (T, H, W, 3) or (T, 3, H, W), or a list of frames or of their pictures' paths.
        size: height and width in pixels.
        num_frames: that many frames, at most all that there are; None takes every frame.
        fps: frames a second to take of a file, `num_frames` at most.
        usual: chooses the frames of a file where `fps` is not given; None is UniformMidpoints, as always of an array.
        rate: of an array or list; None where nothing tells it.

    Raises:
        DecodeError: the file cannot be read.
        DataError: not a video of uint8 RGB, no frames, `fps` for frames that have no times, or a rate of other frames.
    """
    sampler: FrameSampler = UniformMidpoints() if fps is None else FpsCapped(fps)
    if _is_path(video):
        if fps is None and usual is not None:
            sampler = usual
        read = read_file(video, num_frames, sampler, size=size)
        return resize_uint8(read.frames_THWC, size), read.times_s
    total = len(video)
    if not total:
        raise DataError("a video of no frames")
    count = total if num_frames is None else num_frames
    chosen = sampler.indices(total, count, None, np.random.default_rng(0), {})
    times_s = None if rate is None else rate.times_s(total)[chosen]
    if isinstance(video, (list, tuple)):
        return torch.cat([resize_uint8(_frame(video[index])[None], size) for index in chosen]), times_s
    return resize_uint8(_channels_last(_array(video))[chosen], size), times_s


def read_image(image: Any, size: tuple[int, int]) -> Tensor:
    """An image as one uint8 frame (1, 3, height, width).

    Args:
        image: path of a file, a picture of PIL, or uint8 RGB (H, W, 3) or (3, H, W).
        size: height and width in pixels.

    Raises:
        DataError: no such file, not an image, or one of more pixels than fit into memory with ease.
    """
    return resize_uint8(_frame(image)[None], size)


_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".ppm")
"""Files of one frame: lists of these are one video, and lists of other files several."""
_FORMS = {"video": "a list of frames", "image": "a picture of PIL"}


def _is_path(given: Any) -> bool:
    return isinstance(given, (str, os.PathLike))


def _is_frame(given: Any) -> bool:
    return isinstance(given, Image.Image) or (isinstance(given, (np.ndarray, Tensor)) and given.ndim == 3)


def _is_video(given: Any) -> bool:
    if isinstance(given, (np.ndarray, Tensor)):
        return given.ndim == 4
    if _is_path(given) or not isinstance(given, Sequence) or not len(given):
        return False
    return all(_is_frame(frame) for frame in given) or all(_is_picture(frame) for frame in given)


def _is_picture(given: Any) -> bool:
    return _is_path(given) and os.fspath(given).lower().endswith(_PICTURES)


def _frame(frame: Any) -> np.ndarray:
    if _is_path(frame):
        frame = open_picture(local_path(frame))
    if isinstance(frame, Image.Image):
        require_small(frame, "a picture")
        return np.array(in_rgb(frame, "a picture"))
    return _channels_last(_array(frame)[None])[0]


def _array(given: Any) -> np.ndarray:
    array = given.cpu().numpy() if isinstance(given, Tensor) else given
    if array.dtype != np.uint8:
        raise DataError(f"frames are {array.dtype}; give uint8 RGB from 0 to 255, which is normalised here")
    return array


def _channels_last(frames: np.ndarray) -> np.ndarray:
    if frames.shape[-1] == 3:
        return frames
    if frames.shape[1] == 3:
        return frames.transpose(0, 2, 3, 1)
    raise DataError(f"frames of shape {frames.shape} have no axis of three colours, neither last nor before the rows")
