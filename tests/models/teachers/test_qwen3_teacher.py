"""Qwen3-VL's encoder as a teacher: tokens in rows and columns, DeepStack layers beside the last, mergers left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from liteframe.errors import ConfigError, GeometryError
from liteframe.models.teachers import Qwen3VL, Qwen3VLTeacher, TeacherGeometry
from qwen3_world import DEEPSTACK, FEATURES, WIDTH, qwen3_folder, qwen3_host, qwen3_processor, video


@pytest.mark.parametrize("size", [(112, 112), (56, 140)])
def test_tokens_are_those_of_the_layers_in_rows_and_columns(size: tuple[int, int]) -> None:
    teacher, host = Qwen3VL(str(qwen3_folder())).load("eager"), qwen3_host()
    frames, seen = torch.stack([video(4, size, seed) for seed in (1, 2)]), {}
    layers = (len(host.model.visual.blocks) - 1, *DEEPSTACK)
    for number in layers:
        host.model.visual.blocks[number].register_forward_hook(
            lambda _, __, output, number=number: seen.update({number: output})
        )
    processor: Any = qwen3_processor().video_processor
    inputs = processor(videos=list(frames), return_tensors="pt")
    with torch.no_grad():
        host.model.visual(inputs["pixel_values_videos"], grid_thw=inputs["video_grid_thw"])
    tokens = teacher(frames).tokens_BTHWC
    rows, columns = size[0] // 14, size[1] // 14
    assert tokens.shape == (2, 2, rows, columns, FEATURES)
    # In a loop over the order in which Qwen's patches come: blocks of 2 x 2, row by row.
    patch = 0
    for clip in range(2):
        for pair in range(2):
            for row in range(0, rows, 2):
                for column in range(0, columns, 2):
                    for down in range(2):
                        for right in range(2):
                            expected = torch.cat([seen[number][patch] for number in layers])
                            found = tokens[clip, pair, row + down, column + right]
                            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
                            patch += 1


def test_pairs_of_frames_do_not_see_each_other_and_nothing_is_trained() -> None:
    teacher = Qwen3VL(str(qwen3_folder())).load()
    frames = video(6)[None]
    torch.testing.assert_close(
        teacher(frames).tokens_BTHWC[:, 1:2], teacher(frames[:, 2:4]).tokens_BTHWC, rtol=1e-4, atol=1e-4
    )
    assert not any(weight.requires_grad for weight in teacher.parameters()) and not teacher.train().training
    assert not any("merger" in name for name, _ in teacher.tower.named_parameters()), "they are the projector"
    assert teacher.geometry == TeacherGeometry(FEATURES, 14, frames=2) and teacher.geometry.block() == (2, 2, 2)
    assert teacher.saliencies == ("mean_token", "norm") and teacher.image_size == (112, 112)


def test_frames_that_are_not_filled_are_refused() -> None:
    teacher = Qwen3VL(str(qwen3_folder())).load()
    with pytest.raises(GeometryError, match="3 frames: a token of this teacher spans 2"):
        teacher(video(3)[None])
    with pytest.raises(GeometryError, match="84"):
        teacher(video(2, (98, 112))[None])


def test_its_mergers_stay_those_of_the_base_vlm() -> None:
    host = qwen3_host()
    merger = host.model.visual.merger
    teacher = Qwen3VLTeacher(host.model.visual)
    assert host.model.visual.merger is merger and all(weight.requires_grad for weight in merger.parameters())
    assert teacher.tower.blocks is host.model.visual.blocks


def test_the_encoder_alone_and_another_family(tmp_path: Path) -> None:
    qwen3_host().model.visual.save_pretrained(tmp_path)
    alone = Qwen3VL(str(tmp_path)).load("eager")
    whole = Qwen3VL(str(qwen3_folder())).load("eager")
    frames = video(2)[None]
    assert torch.equal(alone(frames).tokens_BTHWC, whole(frames).tokens_BTHWC)
    assert whole.describe()["config"]["deepstack_visual_indexes"] == list(DEEPSTACK)
    assert whole.hidden_size == WIDTH * 3
    qwen3_host().model.language_model.save_pretrained(tmp_path / "llm")
    with pytest.raises(ConfigError, match="'qwen3_vl_text' is not of the Qwen3-VL family"):
        Qwen3VL(str(tmp_path / "llm")).load()
