"""Whatever form videos and images come in, the model sees the same clips and prompts as in training."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import processors
from torch import Tensor

from liteframe.data.decoding import read_video
from liteframe.data.decoding.decode import read_frames
from liteframe.data.decoding.processes.pool import DecodePool
from liteframe.data.sampling.index_rules import uniform_midpoints
from liteframe.data.sources.manifest import read_manifest
from liteframe.data.transforms import normalize, resize_uint8
from liteframe.errors import ConfigError, DataError, DecodeError, DecodeTimeout, GeometryError
from liteframe.hf import LiteFrameForConditionalGeneration, LiteFrameProcessor, modeling
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.prompts import PromptBuilder
from liteframe.tiny.models import tiny_processor
from tiny_world import encoder_folder, host_folder, manifest

QUESTION = "color of the star"
VIDEO, IMAGE = "<video>\ncolor of the star ", "<IMG_CONTEXT>\ncolor of the star "


@lru_cache
def processor() -> LiteFrameProcessor:
    of_host = tiny_processor()
    return LiteFrameProcessor(
        of_host.tokenizer, image_size=112, tokens_per_clip=4, num_frames=8, chat_template=of_host.chat_template
    )


@lru_cache
def model() -> LiteFrameForConditionalGeneration:
    host, _ = load_base_vlm(str(host_folder()))
    return LiteFrameForConditionalGeneration.from_host(host, LiteFrameEncoder.from_pretrained(encoder_folder()))


def video(frames: int, seed: int = 0, height: int = 112, width: int = 112) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (frames, height, width, 3), dtype=np.uint8)


def pixels(*videos: np.ndarray) -> Tensor:
    """Slow and obvious: frame by frame, the last one again until the clip is full."""
    clips = []
    for frames in videos:
        rows = [resize_uint8(frame[None], (112, 112))[0] for frame in frames]
        while len(rows) % 4:
            rows.append(rows[-1])
        clips += [torch.stack(rows[start : start + 4]) for start in range(0, len(rows), 4)]
    return normalize(torch.stack(clips))


@pytest.mark.parametrize("frames", [1, 4, 6])
def test_prompts_are_those_of_training(frames: int) -> None:
    conversation = [{"role": "user", "content": [{"type": "video", "video": video(frames)}, _text(QUESTION)]}]
    found = processor().apply_chat_template(conversation, add_generation_prompt=True, tokenize=True, return_dict=True)
    before, after = PromptBuilder(tiny_processor()).question_ids(QUESTION, -(-frames // 4), 4)
    assert found["input_ids"].tolist() == [before + after]
    assert torch.equal(found["pixel_values_videos"], pixels(video(frames)))


def test_templates_alone_write_special_tokens() -> None:
    """As `PromptBuilder` has it, whatever the tokenizer adds of itself."""
    tokenizer = tiny_processor().tokenizer
    unknown = tokenizer.unk_token_id
    start = processors.TemplateProcessing(single="<unk> $A", special_tokens=[("<unk>", unknown)])
    tokenizer.backend_tokenizer.post_processor = start
    assert tokenizer(QUESTION).input_ids[0] == unknown
    found = LiteFrameProcessor(tokenizer, image_size=112)(text=QUESTION)
    assert found["input_ids"][0].tolist() == tokenizer(QUESTION, add_special_tokens=False).input_ids


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def test_every_form_of_a_video_is_the_same_video() -> None:
    frames = video(6, height=90, width=130)
    expected = pixels(frames)
    forms = {
        "array": frames,
        "colours first": frames.transpose(0, 3, 1, 2),
        "tensor": torch.from_numpy(frames),
        "list of arrays": list(frames),
        "list of tensors, colours first": [torch.from_numpy(frame.transpose(2, 0, 1)) for frame in frames],
        "list of pictures": [Image.fromarray(frame) for frame in frames],
    }
    for name, form in forms.items():
        for given in (form, [form], [[form]]):
            found = processor()(text=VIDEO, videos=given)
            torch.testing.assert_close(found["pixel_values_videos"], expected, msg=name)


def test_a_file_gives_frames_spread_evenly() -> None:
    path = read_manifest(manifest())[0].path
    for count in (None, 5):
        wanted = read_frames(path, uniform_midpoints(128, count or 8))
        for form in (path, Path(path)):
            found = processor()(text=VIDEO, videos=[form], num_frames=count)
            assert torch.equal(found["pixel_values_videos"], pixels(wanted))
    at_rate = processor()(videos=path, fps=1000.0, num_frames=128)
    assert torch.equal(at_rate["pixel_values_videos"], pixels(read_frames(path, range(128))))
    few = processor()(text=VIDEO, videos=video(9), num_frames=4)
    assert torch.equal(few["pixel_values_videos"], pixels(video(9)[uniform_midpoints(9, 4)]))


def test_a_batch_of_unequal_videos_answers_as_one_by_one() -> None:
    videos, texts = [video(6, 1), video(3, 2)], [VIDEO, "<video>\ncolor of the ball "]
    together = processor()(text=texts, videos=videos)
    assert together["pixel_values_videos"].shape == (2 + 1, 4, 3, 112, 112)
    assert together["attention_mask"].sum(1).tolist() == [18, 11] and together["attention_mask"][1, 0] == 0
    with torch.no_grad():
        logits = model()(**together, logits_to_keep=1).logits[:, 0]
        for row in range(2):
            alone = processor()(text=texts[row], videos=videos[row])
            torch.testing.assert_close(logits[row], model()(**alone).logits[0, -1], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(logits[0], logits[1], atol=1e-2)


def test_several_videos_and_images_of_one_prompt_keep_their_order() -> None:
    picture = video(1, 3)[0]
    found = processor()(
        text=["<video>\n<IMG_CONTEXT>\n<video>\ncolor ", "<IMG_CONTEXT>\nball "],
        videos=[[video(6, 1), video(4, 2)], []],
        images=[[picture], [Image.fromarray(video(1, 4)[0])]],
    )
    still = np.repeat(picture[None], 4, axis=0)
    expected = pixels(video(6, 1), still, video(4, 2), video(1, 4))
    assert torch.equal(found["pixel_values_videos"], expected)
    assert (found["input_ids"] == model().config.image_token_id).sum(1).tolist() == [16, 4]


def test_a_still_image_is_a_clip_of_it_repeated(tmp_path: Path) -> None:
    picture = video(1, 5)[0]
    Image.fromarray(picture).save(tmp_path / "picture.png")
    of_image = processor()(text=IMAGE, images=tmp_path / "picture.png")
    of_video = processor()(text=VIDEO, videos=np.repeat(picture[None], 4, axis=0))
    assert torch.equal(of_image["pixel_values_videos"], of_video["pixel_values_videos"])
    assert processor().tokenizer.decode(of_image["input_ids"][0, :6]).split() == [
        "<img>", *["<IMG_CONTEXT>"] * 4, "</img>",
    ]  # fmt: skip
    assert torch.equal(of_image["input_ids"][0], of_video["input_ids"][0, 1:]), "no Frame1: before an image"
    with torch.no_grad():
        assert torch.isfinite(model()(**of_image).logits).all()


def test_clips_are_encoded_alike_however_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = processor()(text=VIDEO, videos=video(20))
    with torch.no_grad():
        expected = model()(**inputs).logits
        for count in (1, 2):
            monkeypatch.setattr(modeling, "CLIPS_AT_ONCE", count)
            torch.testing.assert_close(model()(**inputs).logits, expected, rtol=1e-4, atol=1e-4)


def test_generation_with_a_cache_is_generation_without() -> None:
    inputs = processor()(text=[VIDEO, VIDEO], videos=[video(6, 1), video(12, 2)])
    settings = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": None}
    cached = model().generate(**inputs, **settings)
    assert torch.equal(cached, model().generate(**inputs, **settings, use_cache=False))
    ids = inputs["input_ids"][:1]
    for _ in range(5):
        alone = {"input_ids": ids, "attention_mask": torch.cat([inputs["attention_mask"][:1], torch.ones_like(ids)], 1)}
        alone["attention_mask"] = alone["attention_mask"][:, : ids.shape[1]]
        with torch.no_grad():
            logits = model()(**alone, pixel_values_videos=inputs["pixel_values_videos"][:2]).logits
        ids = torch.cat([ids, logits[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(cached[:1], ids)


def test_beams_keep_the_clips_of_their_prompt() -> None:
    inputs = processor()(text=[VIDEO, VIDEO], videos=[video(8, 1), video(8, 2)])
    settings = {"max_new_tokens": 4, "num_beams": 3, "do_sample": False, "eos_token_id": None}
    together = model().generate(**inputs, **settings)
    for row in range(2):
        alone = processor()(text=VIDEO, videos=video(8, row + 1))
        assert torch.equal(together[row], model().generate(**alone, **settings)[0])
    expanded = model()._expand_inputs_for_generation(expand_size=2, **inputs)[1]["pixel_values_videos"]
    first, second = inputs["pixel_values_videos"].split(2)
    assert torch.equal(expanded, torch.cat([first, first, second, second]))


def test_a_loss_falls_on_the_labels() -> None:
    inputs = processor()(text=VIDEO, videos=video(4))
    labels = torch.full_like(inputs["input_ids"], -100)
    labels[0, -1] = inputs["input_ids"][0, -1]
    with torch.no_grad():
        outputs = model()(**inputs, labels=labels)
    expected = torch.nn.functional.cross_entropy(outputs.logits[:, -2], labels[:, -1])
    torch.testing.assert_close(outputs.loss, expected)


def test_files_are_decoded_in_a_process_that_can_be_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(manifest().parent / read_manifest(manifest())[0].path)
    processor()(videos=path)
    children = read_video.decode_pool("auto").children()
    assert len(children) == 1 and os.getpid() not in children
    with DecodePool() as hurried, monkeypatch.context() as patched:
        run = hurried.run
        patched.setattr(hurried, "run", lambda jobs, deadline_s: run(jobs, 0.001))
        patched.setattr(read_video, "decode_pool", lambda *_: hurried)
        with pytest.raises(DecodeTimeout, match=path):
            processor()(videos=path)


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    for arguments, message in (
        ({"text": VIDEO}, "0 videos for 1 <video> in the prompts; write prompts with apply_chat_template"),
        ({"text": QUESTION, "videos": video(4)}, "1 videos for 0 <video>"),
        ({"text": VIDEO, "videos": video(4).astype(np.float32)}, "float32; give uint8"),
        ({"text": VIDEO, "videos": video(4)[..., :2]}, "no axis of three colours"),
        ({"text": VIDEO, "videos": video(4)[:0]}, "a video of no frames"),
        ({"text": VIDEO, "videos": 7}, "a video is a path, an array or a list of frames, not int"),
        ({"text": VIDEO, "videos": video(4), "fps": 2.0}, "frame rate of the video is unknown"),
        ({"text": IMAGE, "images": tmp_path / "none.png"}, "none.png: cannot be read as an image"),
        ({"text": IMAGE, "images": "https://a.b/c.png"}, r"https://a\.b/c\.png: nothing is fetched here; download it"),
        ({"text": VIDEO, "videos": "https://a.b/c.mp4"}, r"https://a\.b/c\.mp4: nothing is fetched here; download it"),
    ):
        with pytest.raises(DataError, match=message):
            processor()(**arguments)
    with pytest.raises(DecodeError, match="none.mp4"):
        processor()(text=VIDEO, videos=str(tmp_path / "none.mp4"))
    with pytest.raises(ConfigError, match="'np'; only 'pt'"):
        processor()(text=VIDEO, videos=video(4), return_tensors="np")
    made = processor()(text=VIDEO, videos=video(8))
    with pytest.raises(ConfigError, match="8 positions for visual tokens, the videos give 4"):
        model()(input_ids=made["input_ids"], pixel_values_videos=made["pixel_values_videos"][:1])
    with pytest.raises(GeometryError, match="height 100 is not a multiple of 56 px"):
        model().config.tokens_per_clip(100, 112)


def test_it_saves_and_reloads(tmp_path: Path) -> None:
    processor().save_pretrained(tmp_path)
    again = LiteFrameProcessor.from_pretrained(tmp_path)
    assert again.to_dict() == processor().to_dict() and again.chat_template == processor().chat_template
    first, second = (made(text=VIDEO, videos=video(5)) for made in (processor(), again))
    assert all(torch.equal(first[name], second[name]) for name in ("input_ids", "pixel_values_videos"))


def test_the_template_is_the_named_one_the_default_or_the_given_text() -> None:
    two = {"default": "by default", "other": "the other"}
    named = LiteFrameProcessor(tiny_processor().tokenizer, image_size=112, tokens_per_clip=4, chat_template=two)

    def rendered(template: str | None = None) -> str:
        return named.apply_chat_template([{"role": "user", "content": "red"}], template, tokenize=False)

    assert [rendered(), rendered("other"), rendered("{{ messages[0].content }}")] == ["by default", "the other", "red"]
    named.chat_template = {"one": "1", "two": "2"}
    with pytest.raises(ConfigError, match="no chat template called default, only one, two; give chat_template"):
        rendered()
    named.chat_template = None
    with pytest.raises(ConfigError, match="this processor has no chat template; give chat_template"):
        rendered()
