"""The second of each frame of an array or list is what the user tells of it, and nonsense is refused."""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers.video_utils import VideoMetadata

from liteframe.data.sampling.index_rules import uniform_midpoints
from liteframe.errors import DataError
from liteframe.hf import LiteFrameProcessor
from liteframe.models.video_llm.hosts import seconds_of_groups
from qwen3_world import CHATML, qwen3_tokenizer, video

PROMPT = "<|vision_start|><|video_pad|><|vision_end|>red"


@lru_cache
def processor() -> LiteFrameProcessor:
    return LiteFrameProcessor(
        qwen3_tokenizer(), image_size=28, tokens_per_clip=1, chat_template=CHATML, base_vlm="qwen3_vl"
    )


def seconds(inputs: Any) -> list[str]:
    text = processor().tokenizer.decode(inputs["input_ids"][0])
    return [part.rpartition("<")[2] for part in text.split(" seconds>")[:-1]]


def told(videos: list[Any] | None = None, text: str = PROMPT, **options: Any) -> list[str]:
    return seconds(processor()(text=text, videos=[video(8)] if videos is None else videos, **options))


def asked(shown: Any, **options: Any) -> list[str]:
    content = [{"type": "video", "video": shown}, {"type": "text", "text": "red"}]
    options = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, **options}
    return seconds(processor().apply_chat_template([{"role": "user", "content": content}], **options))


@pytest.mark.parametrize("rate", [0, 0.0, -1, float("nan"), float("inf"), True, "2", [2.0], np.float64("nan")])
def test_rates_that_are_none_are_refused(rate: Any) -> None:
    with pytest.raises(DataError, match=r"^video_fps is .*; give frames a second, a finite number above 0"):
        told(video_fps=rate)
    with pytest.raises(DataError, match=r"^fps of video_metadata is .*; give frames a second"):
        told(video_metadata=[{"fps": rate}])


@pytest.mark.parametrize("rate", [2, 2.0, np.float32(2), np.int64(2)])
def test_numbers_of_any_kind_are_rates(rate: Any) -> None:
    assert told(video_fps=rate) == ["0.8", "2.8"]


def test_metadata_tell_when_the_frames_are() -> None:
    assert told(video_metadata=[{"fps": 2.0}]) == ["0.8", "2.8"]
    indices = [0, 3, 5, 8, 100, 103, 105, 110]
    dense = {"fps": 4.0, "frames_indices": np.asarray(indices), "total_num_frames": 200}
    assert told(video_metadata=dense) == ["1.0", "26.2"]
    owned = VideoMetadata(total_num_frames=200, fps=4.0, frames_indices=indices)
    assert told(video_metadata=[[owned]]) == ["1.0", "26.2"]
    first, last = uniform_midpoints(8, 2)
    assert told(num_frames=2, video_metadata=[owned]) == [f"{(indices[first] + indices[last]) / 8:.1f}"]
    both = told([video(8), video(4)], PROMPT * 2, video_metadata=[[{"fps": 2.0}], [{"fps": 1.0}]])
    assert both == ["0.8", "2.8", "1.5"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"video_metadata": [{"fps": 2.0}] * 2}, "video_metadata of 2 videos for 1 videos"),
        ({"video_metadata": [{"fps": None}]}, "give video_fps, .* or video_metadata"),
        ({"video_metadata": [{"fps": 2.0}], "video_fps": 2.0}, "both tell the rate"),
        ({"video_metadata": [{"fps": 2.0, "frames_indices": [0, 1]}]}, r"is \[0, 1\]; .* the video's 8 frames"),
        ({"video_metadata": [{"fps": 2.0, "frames_indices": [*range(7, -1, -1)]}]}, "ascending from 0 on"),
        ({"video_metadata": [{"fps": 2.0, "frames_indices": [*range(-1, 7)]}]}, "ascending from 0 on"),
        ({"video_metadata": [{"fps": 2.0, "frames_indices": [0.5] * 8}]}, "one whole number for each"),
    ],
)
def test_metadata_of_other_frames_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        told(**options)


def test_templates_take_them_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    try:
        found = asked(video(8), video_fps=2.0)
    finally:
        logger.removeHandler(caplog.handler)
    assert found == asked(video(8), processor_kwargs={"video_fps": 2.0}) == ["0.8", "2.8"]
    assert asked(video(8), video_metadata=[{"fps": 2.0}]) == found
    assert "processor_kwargs" not in caplog.text


def test_a_list_of_pictures_is_one_video(tmp_path: Path) -> None:
    frames = video(4, (28, 28)).permute(0, 2, 3, 1).numpy()
    paths = [tmp_path / f"{index}.png" for index in range(4)]
    for path, frame in zip(paths, frames, strict=True):
        Image.fromarray(frame).save(path)
    assert asked([str(path) for path in paths], video_fps=2.0) == ["0.8"]
    found, expected = (processor()(text=PROMPT, videos=[shown], video_fps=2.0) for shown in (paths, frames))
    np.testing.assert_array_equal(found["pixel_values_videos"], expected["pixel_values_videos"])


def test_seconds_of_groups_are_finite() -> None:
    with pytest.raises(DataError, match="not every frame has a time"):
        seconds_of_groups([0.0, float("nan")], 2)
