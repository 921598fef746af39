"""What is compared: liteframe's reader, and the libraries as one uses them without it.

Each reads frames of one file, which it opens anew, and knows nothing of it but how far apart its key frames are.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from liteframe.data.decoding.decode import forget_scans, read_frames

Reader = Callable[[str, Sequence[int], int], np.ndarray]
"""(path, increasing indices, frames between key frames) to frames (T, height, width, 3) uint8."""
OURS = "liteframe"


def readers(threads: Sequence[int]) -> dict[tuple[str, int], Reader]:
    """By name and number of threads, those that are installed."""
    functions = {OURS: _liteframe, "pyav": _pyav, "decord": _decord, "torchcodec": _torchcodec}
    modules = {"decord": "decord", "torchcodec": "torchcodec"}
    return {
        (name, count): partial(function, count)
        for count in threads
        for name, function in functions.items()
        if name not in modules or importlib.util.find_spec(modules[name]) is not None
    }


def _liteframe(threads: int, path: str, indices: Sequence[int], group: int) -> np.ndarray:
    forget_scans()
    return read_frames(path, indices, threads=threads)


def _pyav(threads: int, path: str, indices: Sequence[int], group: int) -> np.ndarray:
    """Seeks where another group of pictures begins in between, and goes on otherwise."""
    import av

    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE" if threads == 1 else "AUTO"
        stream.codec_context.thread_count = threads
        step = 1 / (stream.average_rate * stream.time_base)
        first = stream.start_time or 0
        frames, position, out = container.decode(stream), 0, []
        for index in indices:
            if index // group > position // group:
                container.seek(int(first + index * step), stream=stream)
                frames, position = container.decode(stream), index
            time = first + index * step - step / 2
            frame = next(frame for frame in frames if frame.pts >= time)
            position = index
            out.append(frame.to_ndarray(format="rgb24"))
    return np.stack(out)


def _decord(threads: int, path: str, indices: Sequence[int], group: int) -> np.ndarray:
    import decord

    return decord.VideoReader(path, ctx=decord.cpu(0), num_threads=threads).get_batch(list(indices)).asnumpy()


def _torchcodec(threads: int, path: str, indices: Sequence[int], group: int) -> np.ndarray:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(path, dimension_order="NHWC", num_ffmpeg_threads=threads)
    return decoder.get_frames_at(list(indices)).data.numpy()
