"""What is exported of an encoder whose clips hold several groups answers as the model that stages measure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from liteframe.command.export import export_command
from liteframe.data.transforms import normalize
from liteframe.hf import LiteFrameForConditionalGeneration, LiteFrameProcessor
from liteframe.hf.loading import load_video_llm
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from tiny_world import ENCODER, host_folder

QUESTION = "color of the star"
CLIPS = {"8 frames, tokens of 4": (8, [[2, 2, 2], [2, 1, 1]]), "4 frames, tokens of 2": (4, [[2, 2, 2], [1, 1, 1]])}


@pytest.fixture(scope="module", params=CLIPS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    clip, strides = CLIPS[request.param]
    folder = tmp_path_factory.mktemp("clips")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = LiteFrameEncoder(LiteFrameConfig(**ENCODER, clip_frames=clip, downsample_strides=strides))
        for parameter in encoder.parameters():
            parameter.data.add_(0.05 * torch.randn_like(parameter))
    encoder.save_pretrained(folder / "encoder")
    assert export_command(str(folder / "encoder"), str(folder / "out"), host=str(host_folder())) == 0
    return folder / "out"


def video(frames: int) -> Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.randint(0, 255, (frames, 3, 112, 112), dtype=torch.uint8, generator=generator)


def asked(*videos: Tensor) -> list[Any]:
    texts = {"type": "text", "text": QUESTION}
    return [[{"role": "user", "content": [{"type": "video", "video": each}, texts]}] for each in videos]


@pytest.mark.parametrize("frames", [[1], [6], [8], [13], [6, 13, 3]])
def test_logits_are_those_of_the_model_that_stages_measure(folder: Path, frames: list[int]) -> None:
    model = LiteFrameForConditionalGeneration.from_pretrained(folder)
    processor = LiteFrameProcessor.from_pretrained(folder)
    videos = [video(count) for count in frames]
    inputs = processor.apply_chat_template(
        asked(*videos), add_generation_prompt=True, tokenize=True, return_dict=True, padding=True
    )
    own = load_video_llm(folder)
    with torch.no_grad():
        logits = model(**inputs).logits[:, -1]
        for number, frames_TCHW in enumerate(videos):
            visual = own.project(own.encode(normalize(frames_TCHW)[None]))
            assert visual.shape[1] == -(-len(frames_TCHW) // own.frames_per_group)
            before, after = own.prompts.question_ids(QUESTION, *visual.shape[1:3])
            expected = own.prefill(visual, before + after)[0]
            torch.testing.assert_close(logits[number], expected, rtol=1e-4, atol=1e-4)


def test_several_answers_to_each_prompt_see_their_own_clips(folder: Path) -> None:
    """Prompts of several clips each, repeated as sampling and beams repeat them."""
    model = LiteFrameForConditionalGeneration.from_pretrained(folder)
    processor = LiteFrameProcessor.from_pretrained(folder)
    inputs = processor.apply_chat_template(
        asked(video(13), video(3), video(9)), add_generation_prompt=True, tokenize=True, return_dict=True, padding=True
    )
    ids, repeated = model._expand_inputs_for_generation(2, False, **inputs)
    with torch.no_grad():
        once = model(**inputs).logits[:, -1]
        twice = model(input_ids=ids, **repeated).logits[:, -1]
        torch.testing.assert_close(twice, once.repeat_interleave(2, dim=0), rtol=1e-4, atol=1e-4)
        beams = model.generate(**inputs, max_new_tokens=2, num_beams=2, do_sample=False)
    assert len(beams) == 3


def test_an_image_is_one_group(folder: Path) -> None:
    processor = LiteFrameProcessor.from_pretrained(folder)
    inputs = processor(images=[video(1)[0]], text=f"{processor.image_token} {QUESTION}")
    assert inputs["clip_groups"].tolist() == [1] and len(inputs["pixel_values_videos"]) == 1
    assert "clip_groups" in processor.model_input_names
    model = LiteFrameForConditionalGeneration.from_pretrained(folder)
    assert int((inputs["input_ids"] == model.config.image_token_id).sum()) == 4
    with torch.no_grad():
        assert model(**inputs).logits.isfinite().all()


def test_folders_from_before_there_were_groups_are_read_as_they_were(folder: Path, tmp_path: Path) -> None:
    processor = LiteFrameProcessor.from_pretrained(folder)
    processor.save_pretrained(tmp_path)
    path = tmp_path / "processor_config.json"
    fields = json.loads(path.read_text())
    assert fields.pop("frames_per_group") < fields["clip_frames"]
    path.write_text(json.dumps(fields))
    before = LiteFrameProcessor.from_pretrained(tmp_path)
    assert before.frames_per_group == before.clip_frames
    assert "clip_groups" not in before(videos=[video(3)])
