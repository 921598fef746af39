"""Models that are compared read the same frames, of the size that all of them were made for."""

from __future__ import annotations

from pathlib import Path

import pytest

from liteframe.bench.questions import sizes_asked, videos_for
from liteframe.bench.run_methods import exports_of
from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.errors import ConfigError
from liteframe.models.rivals.post_hoc import PostHocVideoLLM
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.model import VideoLLM
from liteframe.system.own_folder import list_files, listing_sha256
from tiny_world import host_folder, manifest


def test_models_of_two_sizes_are_not_compared() -> None:
    host, processor = load_base_vlm(str(host_folder()))
    teacher = VideoLLM(host, processor)
    pruned = PostHocVideoLLM(VideoLLM(host, processor), "visionzip")
    data = videos_for({"teacher": teacher, "pruned": pruned}, Path(manifest("test")), 4, 1)
    assert data.settings.image_size == (112, 112)
    assert sizes_asked(data, {"pruned": pruned}) == {"image_size": [112, 112], "image_size_made_for": [112, 112]}
    student = VideoLLM(host, processor, trained=FrameSpec((56, 56)))
    with pytest.raises(ConfigError, match=r"student was made for frames of \(56, 56\), teacher for \(112, 112\)"):
        videos_for({"teacher": teacher, "student": student}, Path(manifest("test")), 4, 1)


def test_a_report_names_the_exports_that_it_is_about(tmp_path: Path) -> None:
    assert exports_of(tmp_path, ["teacher", "liteframe-ctd", "liteframe-lma"]) == {}
    (tmp_path / "lma" / "export").mkdir(parents=True)
    (tmp_path / "lma" / "export" / "projector.safetensors").write_bytes(b"weights")
    list_files(tmp_path / "lma" / "export")
    named = listing_sha256(tmp_path / "lma" / "export")
    assert exports_of(tmp_path, ["teacher", "liteframe-lma"]) == {"liteframe-lma": named}
