"""A video that is encoded, and read by the LLM, as its frames come, is one that is taken as a whole."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import InternVLForConditionalGeneration

from liteframe.data.decoding.decode import VideoInfo
from liteframe.data.decoding.processes.frame_chunks import Begin
from liteframe.data.decoding.processes.frame_stream import FrameStream
from liteframe.data.decoding.processes.job import DecodeJob
from liteframe.data.transforms import normalize
from liteframe.errors import DecodeError
from liteframe.models.backbone import WAP, Dense
from liteframe.models.clip_chunks import CLIPS_AT_ONCE
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.video_llm.generation import Conversation
from liteframe.models.video_llm.model import LiteFrameBackbone, VideoLLM
from liteframe.models.video_llm.reading import VideoPrefix, chunk_frames, read_video
from liteframe.models.video_llm.stopwatch import OTHER, WAIT, Stopwatch
from liteframe.tiny.models import tiny_config, tiny_processor
from tiny_world import encoder_folder

QUESTION, SIZE, CPU = "color of the star", (112, 112), torch.device("cpu")


@pytest.fixture(params=["student", "teacher", "pooled"], scope="module")
def model(request: pytest.FixtureRequest) -> VideoLLM:
    """With a head of its own, so that what comes next is not just what came last."""
    processor = tiny_processor()
    config = tiny_config(processor.tokenizer)
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = False
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        base_vlm = InternVLForConditionalGeneration(config)
        encoder = LiteFrameEncoder.from_pretrained(encoder_folder())
    backbone = LiteFrameBackbone(encoder) if request.param == "student" else None
    return VideoLLM(base_vlm, processor, backbone, WAP((4, 2, 2)) if request.param == "pooled" else Dense()).eval()


def video(frames: int) -> np.ndarray:
    return np.random.default_rng(frames).integers(0, 256, (frames, *SIZE, 3), np.uint8)


def stream_of(frames_THWC: np.ndarray, chunk: int, called_back: bool = False) -> FrameStream:
    """What a decode process would send, which may have sent other frames first."""
    info = VideoInfo("a.mp4", "h264", *SIZE, 25.0, len(frames_THWC), 1.0, 0, "pyav")

    def read(stream: FrameStream) -> Any:
        if called_back:
            stream.take(Begin(info, np.arange(3 * chunk), None, 1), 0.0)
            for _ in range(3):
                stream.take(np.zeros_like(frames_THWC[:chunk]), 0.0)
        stream.take(Begin(info, np.arange(len(frames_THWC)), None, 1), 0.0)
        for start in range(0, len(frames_THWC), chunk):
            stream.take(frames_THWC[start : start + chunk], 0.0)
        return info, 1.0

    return FrameStream(DecodeJob("a.mp4"), 1).start(read)


def whole(model: VideoLLM, frames_THWC: np.ndarray) -> Tensor:
    pixels_BTCHW = normalize(torch.from_numpy(frames_THWC).permute(0, 3, 1, 2))[None]
    return model.project(model.encode(pixels_BTCHW))


@torch.inference_mode()
def read(
    model: VideoLLM, frames_THWC: np.ndarray, prefill: bool, called_back: bool = False
) -> tuple[Tensor, VideoPrefix | None]:
    with stream_of(frames_THWC, model.clip_frames, called_back) as stream:
        return read_video(model, stream, SIZE, CPU, None, Stopwatch(CPU), prefill)


@pytest.mark.parametrize("frames, called_back", [(1, False), (17, False), (24, True)])
@torch.inference_mode()
def test_tokens_and_answers_are_those_of_the_whole_video(model: VideoLLM, frames: int, called_back: bool) -> None:
    clips = -(-frames // model.clip_frames) * model.clip_frames
    frames_THWC = video(frames if isinstance(model.backbone, LiteFrameBackbone) else clips)
    expected = whole(model, frames_THWC)
    talk = Conversation(model, expected)
    answer = list(talk.reply(QUESTION, 6))
    next_V = talk._next_logits()
    for prefill in (False, True):
        visual, prefix = read(model, frames_THWC, prefill, called_back)
        torch.testing.assert_close(visual, expected, rtol=1e-4, atol=1e-5)
        again = Conversation(model, visual, prefix=prefix)
        assert list(again.reply(QUESTION, 6)) == answer and again.ids == talk.ids
        torch.testing.assert_close(again._next_logits(), next_V, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_what_was_read_ahead_is_not_read_again(model: VideoLLM) -> None:
    visual, prefix = read(model, video(12), prefill=True)
    assert prefix is not None
    groups, tokens = visual.shape[1:3]
    assert prefix.ids.count(model.image_token_id) == groups * tokens
    assert prefix.cache.get_seq_length() == len(prefix.ids)
    talk = Conversation(model, visual, prefix=prefix)
    next(talk.reply(QUESTION, 1))
    assert talk._cache is prefix.cache and talk.cached == len(talk.ids) - 1 > len(prefix.ids)


@torch.inference_mode()
def test_what_was_read_of_another_prompt_is_not_used(model: VideoLLM) -> None:
    """As where a template says the question before the video."""
    visual, prefix = read(model, video(16), prefill=True)
    assert prefix is not None
    prefix.ids[0] += 1
    expected = list(Conversation(model, visual).reply(QUESTION, 4))
    assert list(Conversation(model, visual, prefix=prefix).reply(QUESTION, 4)) == expected


def test_chunks_are_whole_clips_and_larger_where_clips_are_little_work(model: VideoLLM) -> None:
    small, large = (chunk_frames(model, size, CPU) for size in (SIZE, (4480, 4480)))
    assert small == CLIPS_AT_ONCE * model.clip_frames and large == model.clip_frames
    assert chunk_frames(model, (448, 448), CPU) % model.clip_frames == 0


def test_an_error_ends_the_reading_and_gives_the_cores_back(model: VideoLLM) -> None:
    def fails(stream: FrameStream) -> Any:
        info = VideoInfo("a.mp4", "h264", *SIZE, 25.0, 8, 1.0, 0, "pyav")
        stream.take(Begin(info, np.arange(8), None, 1), 0.0)
        stream.take(video(4), 0.0)
        return DecodeError("a.mp4", "is damaged")

    cores = torch.get_num_threads()
    with FrameStream(DecodeJob("a.mp4"), 2).start(fails) as stream, pytest.raises(DecodeError, match=r"a\.mp4: is d"):
        read_video(model, stream, SIZE, CPU, None, Stopwatch(CPU))
    assert torch.get_num_threads() == cores


@torch.inference_mode()
def test_the_encoder_leaves_cores_to_threads_that_decode(model: VideoLLM) -> None:
    """It has all but one while a thread decodes, and afterwards they are all back; other threads keep their own."""
    seen: list[int] = []
    elsewhere: list[tuple[int, int]] = []
    going_on = threading.Event()

    def read(stream: FrameStream) -> Any:
        info = VideoInfo("a.mp4", "h264", *SIZE, 25.0, 12, 1.0, 0, "pyav")
        stream.take(Begin(info, np.arange(12), None, 1), 0.0)
        stream.take(video(4), 0.0)
        going_on.wait(60)  # decodes while the first chunk is encoded
        before = torch.get_num_threads()
        torch.nn.Identity()(torch.zeros(1))
        elsewhere.append((before, torch.get_num_threads()))
        stream.take(video(4), 0.0)
        stream.take(video(4), 0.0)
        return info, 1.0

    def note(*_: object) -> None:
        seen.append(torch.get_num_threads())
        going_on.set()

    cores = torch.get_num_threads()
    torch.set_num_threads(3)
    handle = model.projector.register_forward_hook(note)
    try:
        with FrameStream(DecodeJob("a.mp4"), 1).start(read) as stream:
            read_video(model, stream, SIZE, CPU, None, Stopwatch(CPU))
        assert seen[0] == 2 and torch.get_num_threads() == 3
        assert [before for before, _ in elsewhere] == [after for _, after in elsewhere] != []
    finally:
        handle.remove()
        torch.set_num_threads(cores)


def ticking() -> Iterator[float]:
    """A clock that goes on by a second each time that it is asked."""
    yield from map(float, count())


def test_all_of_the_time_is_accounted_for(model: VideoLLM) -> None:
    clock = ticking()
    began = next(clock)
    stopwatch = Stopwatch(CPU, lambda: next(clock))
    with torch.inference_mode(), stream_of(video(16), 8) as stream:
        next(clock)
        read_video(model, stream, SIZE, CPU, None, stopwatch, prefill=True)
    ms = stopwatch.finish()
    assert set(ms) == {WAIT, "preprocess", "encode", "project", "prefill", OTHER} and min(ms.values()) > 0
    assert sum(ms.values()) == pytest.approx(1e3 * (next(clock) - began - 2), abs=1)
