"""Models that are compared read the same frames, of the size that all of them were made for."""

from __future__ import annotations

from pathlib import Path

import pytest

from liteframe.bench.questions import videos_for
from liteframe.data.frame_spec import FrameSpec
from liteframe.errors import ConfigError
from liteframe.models.host_loading import load_host
from liteframe.models.post_hoc import PostHocVideoLLM
from liteframe.models.video_llm import VideoLLM
from tiny_world import host_folder, manifest


def test_models_of_two_sizes_are_not_compared() -> None:
    host, processor = load_host(str(host_folder()))
    teacher = VideoLLM(host, processor)
    pruned = PostHocVideoLLM(VideoLLM(host, processor), "visionzip")
    data = videos_for({"teacher": teacher, "pruned": pruned}, Path(manifest("test")), 4, 1)
    assert data.settings.image_size == (112, 112)
    student = VideoLLM(host, processor, trained=FrameSpec((56, 56)))
    with pytest.raises(ConfigError, match=r"student was made for frames of \(56, 56\), teacher for \(112, 112\)"):
        videos_for({"teacher": teacher, "student": student}, Path(manifest("test")), 4, 1)
