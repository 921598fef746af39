"""What messages say of a video and the processor does not read is refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from liteframe.errors import ConfigError
from liteframe.hf import LiteFrameProcessor
from liteframe.tiny.models import tiny_processor


def asked(**of_video: Any) -> list[dict[str, Any]]:
    video = {"type": "video", "video": np.zeros((4, 112, 112, 3), np.uint8), **of_video}
    return [{"role": "user", "content": [video, {"type": "text", "text": "color of the star"}]}]


@pytest.mark.parametrize(
    ("of_video", "named"),
    [
        ({"video_start": 3.0}, "'video_start', which is not read; cut it"),
        ({"start_time": 3, "end_time": 7}, "'start_time', which is not read; cut it"),
        ({"end": 7}, "'end', which is not read; cut it"),
        ({"fps": 1.0}, "'fps', which is not read; give fps or num_frames to the call"),
        ({"nframes": 8}, "'nframes', which is not read; give fps"),
    ],
)
def test_a_part_or_frames_of_a_message_are_named(of_video: dict[str, Any], named: str) -> None:
    of_host = tiny_processor()
    processor = LiteFrameProcessor(
        of_host.tokenizer, image_size=112, tokens_per_clip=4, num_frames=8, chat_template=of_host.chat_template
    )
    options = {"tokenize": True, "return_dict": True, "return_tensors": "pt"}
    plain = processor.apply_chat_template(asked(max_pixels=100_000, fps=None), **options)
    assert plain["pixel_values_videos"].shape[:2] == (1, 4)
    for conversation in (asked(**of_video), [asked(), asked(**of_video)]):
        with pytest.raises(ConfigError, match="a video of the conversation has ") as error:
            processor.apply_chat_template(conversation, **options)
        assert named in str(error.value)
