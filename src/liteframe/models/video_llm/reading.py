"""A video from its first frames to what the LLM has read of it, while later frames are still decoded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.modules.module import register_module_forward_pre_hook

from liteframe.data.decoding.processes.frame_stream import FrameStream, StartedOver
from liteframe.data.transforms import resize_uint8
from liteframe.models.clip_chunks import CLIPS_AT_ONCE
from liteframe.models.video_llm.hosts import Groups, count_of
from liteframe.models.video_llm.model import VideoLLM
from liteframe.models.video_llm.prompt_cache import prompt_cache
from liteframe.models.video_llm.stopwatch import WAIT, Stopwatch

_PATCH_PIXELS = 14 * 14
_WORTH_A_CHUNK = {"cpu": 2e10, "cuda": 1e12}
"""Operations of an encoder next to which it costs nothing to begin with them apart."""
_ASKED_TOKENS = 512
"""Of question and answer, that room is made for behind a video."""


def chunk_frames(model: VideoLLM, size: tuple[int, int], device: torch.device) -> int:
    """Frames, of `size` = (height, width), that are encoded at a time: whole clips, many where one is little work."""
    weights = sum(weight.numel() for weight in model.backbone.parameters())
    clip = 2 * weights * model.clip_frames * size[0] * size[1] / _PATCH_PIXELS
    worth = _WORTH_A_CHUNK.get(device.type, _WORTH_A_CHUNK["cuda"])
    return model.clip_frames * max(1, min(CLIPS_AT_ONCE, round(worth / max(clip, 1.0))))


class VideoPrefix:
    """The part of a prompt up to and with a video, of which the LLM reads each group as it comes.

    Args:
        model: the Video LLM.
        groups: of the whole video, see `VideoLLM.groups_of`.

    Attributes:
        ids: that the LLM has read.
        cache: their keys and values.
    """

    def __init__(self, model: VideoLLM, groups: Groups) -> None:
        self._model, self._groups, self._read = model, groups, 0
        self.ids: list[int] = []
        self.cache = prompt_cache(model.language_model, 0)

    def read(self, visual_BTNC: Tensor) -> None:
        """Has the LLM read the next groups, (1, t, N, C_llm), and what stands before them; not what stands behind."""
        model, N = self._model, visual_BTNC.shape[2]
        ids = model.prompts.video_prefix_ids(self._groups, N)
        positions = [place for place, token in enumerate(ids) if token == model.image_token_id]
        self._read += visual_BTNC.shape[1]
        stop = positions[self._read * N - 1] + 1
        if not self.ids:
            self.cache = prompt_cache(model.language_model, len(ids) + _ASKED_TOKENS)
        ids_BL = torch.tensor([ids[len(self.ids) : stop]], device=visual_BTNC.device)
        embeds_BLC = model.embed(ids_BL, visual_BTNC, visual_count=visual_BTNC.shape[1] * N)
        model.hidden_states(embeds_BLC, cache=self.cache)
        self.ids = ids[:stop]


def read_video(
    model: VideoLLM,
    stream: FrameStream,
    size: tuple[int, int],
    device: torch.device,
    dtype: torch.dtype | None,
    clock: Stopwatch,
    prefill: bool = False,
) -> tuple[Tensor, VideoPrefix | None]:
    """What the LLM sees of a video, (1, T, N, C_llm), each chunk encoded as it comes; and what the LLM has read of it.

    On a CPU the encoder leaves the cores alone that decode just now.

    Args:
        model: the Video LLM.
        stream: chunks of whole clips, but for the last.
        size: (height, width) of its frames.
        device: where the model is.
        dtype: of autocast; None is none.
        clock: has the stages.
        prefill: let the LLM read each chunk at once. It pays where it does so beside the decoding, as on a GPU.

    Raises:
        DecodeError, LiteFrameError: as `FrameStream.indices`.
    """
    while True:
        try:
            return _read_once(model, stream, size, device, dtype, clock, prefill)
        except StartedOver:
            continue


def _read_once(
    model: VideoLLM,
    stream: FrameStream,
    size: tuple[int, int],
    device: torch.device,
    dtype: torch.dtype | None,
    clock: Stopwatch,
    prefill: bool,
) -> tuple[Tensor, VideoPrefix | None]:
    with clock.stage(WAIT):
        shown = model.groups_of(len(stream.indices), stream.times_s)  # type: ignore[arg-type]
        groups = count_of(shown)
    prefix = VideoPrefix(model, shown) if prefill else None
    visual_BTNC: Tensor | None = None
    done, chunks = 0, iter(stream)
    with _beside(stream, device), torch.autocast(device.type, dtype, enabled=dtype is not None):
        while True:
            with clock.stage(WAIT):
                chunk_THWC = next(chunks, None)
            if chunk_THWC is None:
                assert visual_BTNC is not None and done == groups, "frames of all groups have come"
                return visual_BTNC, prefix
            with clock.stage("preprocess"):
                frames_BTCHW = resize_uint8(chunk_THWC, size).to(device)[None]
            with clock.stage("encode"):
                tokens_BTHWC = model.encode(frames_BTCHW)
            with clock.stage("project"):
                seen_BTNC = model.project(tokens_BTHWC)
                if visual_BTNC is None:
                    visual_BTNC = seen_BTNC.new_empty(1, groups, *seen_BTNC.shape[2:])
                visual_BTNC[:, done : done + seen_BTNC.shape[1]] = seen_BTNC
                done += seen_BTNC.shape[1]
            if prefix is not None:
                with clock.stage("prefill"):
                    prefix.read(seen_BTNC)


@contextmanager
def _beside(stream: FrameStream, device: torch.device) -> Iterator[None]:
    """Leaves the cores to the threads that decode just now, from layer to layer; a GPU needs none."""
    if device.type != "cpu":
        yield
        return
    cores = now = torch.get_num_threads()
    here = threading.get_ident()

    def share(*_: object) -> None:
        nonlocal now
        if threading.get_ident() != here:  # the hook is everybody's, the number of threads each one's own
            return
        left = max(1, cores - stream.threads_at_work)
        if left != now:
            torch.set_num_threads(left)
            now = left

    hook = register_module_forward_pre_hook(share)
    try:
        yield
    finally:
        hook.remove()
        torch.set_num_threads(cores)
