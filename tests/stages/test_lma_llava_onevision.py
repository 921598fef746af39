"""LMA of a LLaVA-OneVision: a student of its encoder learns with its LLM, and is exported and read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from liteframe.chat.model import ChatModel
from liteframe.command.export import export_command
from liteframe.errors import ConfigError, DataError
from liteframe.hf import LiteFrameForConditionalGeneration, LiteFrameProcessor
from liteframe.hf.configuration import LiteFrameVideoConfig
from liteframe.hf.loading import load_video_llm
from liteframe.models.backbone import WAP
from liteframe.models.folders.training_record import TrainingRecord
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.student.from_teacher import student_fields
from liteframe.models.teachers import LlavaOnevision
from liteframe.models.video_llm.adapted import load_adapted
from liteframe.models.video_llm.generation import prompt_ids
from liteframe.models.video_llm.model import VideoLLM
from liteframe.stages.ctd import CTDStage
from liteframe.stages.evaluate import EvaluateStage
from llava_world import (
    FILLED,
    SIDE,
    WIDTH,
    as_ours,
    llava_config,
    llava_encoder_folder,
    llava_folder,
    llava_host,
    llava_lma,
    llava_lma_folder,
    llava_processor,
)
from qwen3_world import video
from students_of_hosts import require_loss_of_prompts
from tiny_world import decoding_in_process, encoder_folder, home, make_trainer, manifest, video_data

QUESTION = "color of the star"
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
OF_GROUP = 16


def shown(model: VideoLLM, frames: int = 6) -> tuple[torch.Tensor, list[int]]:
    assert model.frames.image_size is not None
    visual = model.project(model.encode(video(frames, model.frames.image_size)[None]))
    return visual, prompt_ids(model, visual, QUESTION)


def logits(model: VideoLLM) -> torch.Tensor:
    with torch.no_grad():
        return model.prefill(*shown(model))


def test_a_student_follows_the_teacher_on_frames_that_blocks_fill() -> None:
    fields = student_fields(LlavaOnevision(str(llava_folder())), WAP((4, 2, 2), saliency="norm"), {})
    assert fields["output_size"] == WIDTH and fields["patch_size"] == 14 and fields["clip_frames"] == 4
    assert fields["image_size"] == FILLED and fields["downsample_strides"] == [[2, 2, 2], [2, 1, 1]]
    config = LiteFrameEncoder.from_pretrained(llava_encoder_folder()).config
    assert (config.output_size, config.image_size, config.stride) == (WIDTH, FILLED, (4, 2, 2))


def test_loss_is_of_the_prompts_and_falls() -> None:
    parts = ("backbone.encoder", "projector.mlp.linear_1", "projector.image_newline", "lora_A", "lora_B")
    require_loss_of_prompts(llava_lma(), parts, falls_by=0.3)


@pytest.mark.parametrize("merge", [True, False])
def test_the_export_is_the_model_of_the_run(merge: bool) -> None:
    folder = llava_lma_folder()
    adapted = load_adapted(folder / "export", "eager")
    expected = logits(adapted)
    assert expected.std() > 0.1, "logits of a random model are not all alike"
    of_host = load_video_llm(str(llava_folder())).projector
    assert not torch.equal(adapted.projector.image_newline, of_host.image_newline), "it has learnt"
    out = home() / f"llava-exported-{merge}"
    assert export_command(str(folder), str(out), merge=merge, max_shard_size="1MB") == 0
    torch.testing.assert_close(logits(load_video_llm(str(out), "eager")), expected, **CLOSE)
    model = LiteFrameForConditionalGeneration.from_pretrained(out)
    processor = LiteFrameProcessor.from_pretrained(out)
    assert processor.tokens_per_clip == OF_GROUP and list(processor.image_size) == [FILLED, FILLED]
    pixels = video(6, (FILLED, FILLED))
    message = {"role": "user", "content": [{"type": "video", "video": pixels}, {"type": "text", "text": QUESTION}]}
    text = processor.apply_chat_template([message], add_generation_prompt=True, tokenize=False)
    inputs = processor(text=text, videos=[pixels])
    # The base VLM's own processor writes as much for one frame as a group of four has here.
    theirs: Any = llava_processor()
    rendered = theirs.apply_chat_template([message], add_generation_prompt=True, tokenize=False)
    ids = theirs(text=rendered, videos=[video(2, (SIDE, SIDE))])["input_ids"][0]
    assert inputs["input_ids"][0].tolist() == as_ours(ids, [2 * OF_GROUP + 1])
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs).logits[:, -1], expected, **CLOSE)
        # Two prompts padded on the left, one of them of a longer video.
        both = processor(text=[text, text], videos=[pixels, video(12, (FILLED, FILLED))])
        assert both["attention_mask"][0, 0] == 0
        torch.testing.assert_close(model(**both).logits[:1, -1], expected, **CLOSE)
        alone = model.generate(**inputs, max_new_tokens=4, min_new_tokens=4, do_sample=False)[0, -4:]
        first = model.generate(**both, max_new_tokens=4, min_new_tokens=4, do_sample=False)[0, -4:]
        assert torch.equal(alone, first)
        ids_1L = inputs["input_ids"]
        for token in alone[:3]:  # each from the whole prompt, without a cache
            ids_1L = torch.cat([ids_1L, token[None, None]], dim=1)
            again = {**inputs, "input_ids": ids_1L, "attention_mask": torch.ones_like(ids_1L)}
            last = model(**again).logits[0, -1]
        assert last.argmax() == alone[3]
        beams = model.generate(**both, max_new_tokens=4, min_new_tokens=4, num_beams=2, do_sample=False)
        assert torch.equal(
            beams[:1, -4:], model.generate(**inputs, max_new_tokens=4, min_new_tokens=4, num_beams=2)[:, -4:]
        )
    with pytest.raises(DataError, match="takes videos alone"):
        processor(images=[pixels[0].permute(1, 2, 0).numpy()])
    with pytest.raises(DataError, match="0 images for 1 <image> in the prompts"):
        processor(text=f"<image>{text}", videos=[pixels])
    card = (out / "README.md").read_text()
    assert "video_fps" not in card and "still image" not in card
    assert f"sees {OF_GROUP} tokens of a clip of 4 frames of {FILLED} x {FILLED} px" in card


def test_two_videos_of_an_export_each_end_by_their_own_embedding() -> None:
    """Of unequal lengths, next to each other; as `VideoLLM` reads them."""
    folder = llava_lma_folder()
    out = home() / "llava-exported-True"
    if not out.is_dir():
        export_command(str(folder), str(out), merge=True)
    model, processor = LiteFrameForConditionalGeneration.from_pretrained(out), LiteFrameProcessor.from_pretrained(out)
    ours = load_video_llm(str(out), "eager")
    videos = [video(5, (FILLED, FILLED)), video(3, (FILLED, FILLED), seed=1)]
    content = [{"type": "video"}, {"type": "video"}, {"type": "text", "text": QUESTION}]
    messages = [{"role": "user", "content": content}]
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    inputs = processor(text=text, videos=videos)
    ids = ours.prompts.dialogue_ids(messages, [(2, OF_GROUP), (1, OF_GROUP)])
    assert inputs["input_ids"][0].tolist() == ids and ids.count(model.config.newline_token_id) == 2
    with torch.no_grad():
        visual = torch.cat([ours.project(ours.encode(each[None])) for each in videos], dim=1)
        torch.testing.assert_close(model(**inputs).logits[:, -1], ours.prefill(visual, ids), **CLOSE)


def test_ctd_alone_is_exported_into_its_base_vlm() -> None:
    out = home() / "llava-ctd-exported"
    assert export_command(str(llava_encoder_folder().parent), str(out)) == 0
    loaded, base = load_video_llm(str(out), "eager"), load_video_llm(str(llava_folder()), "eager")
    assert torch.equal(loaded.projector.image_newline, base.projector.image_newline)
    encoder = LiteFrameEncoder.from_pretrained(llava_encoder_folder())
    with torch.no_grad():
        tokens = encoder(video(6, (FILLED, FILLED))[None]).last_hidden_state
        expected = base.projector.mlp(tokens).flatten(2, 3)
        torch.testing.assert_close(shown(loaded)[0], expected, **CLOSE)


def test_it_chats_about_files() -> None:
    folder = llava_lma_folder()
    row = manifest().read_text().splitlines()[0]
    path = str(Path(manifest().parent, json.loads(row)["path"]))
    for model in (load_adapted(folder / "export", "eager"), load_video_llm(str(llava_folder()), "eager")):
        chat = ChatModel(model)
        answer = chat.answer(path, QUESTION, 3, frames=6)
        assert answer.frames == 6
        together = chat.answers([path, path], QUESTION, 3, frames=6)
        assert [each.text for each in together] == [answer.text] * 2
        with chat.stream(path, fps=5.0, idle_s=0.5, memory=64) as live:
            assert live.wait(60.0)
            heard = live.ask(QUESTION, 3)
        watched = chat.answer(path, QUESTION, 3, fps=5.0, frames=64)
        assert (heard.text, heard.frames, heard.prompt_tokens) == (watched.text, watched.frames, watched.prompt_tokens)


_ADVICE = (
    r"--model\.teacher\.class_path LlavaOnevision --model\.teacher\.init_args\.source \S*host-llava-onevision"
    r" --model\.saliency norm"
)


def test_students_that_do_not_fit_are_refused_before_the_base_vlm_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    LiteFrameEncoder.from_pretrained(llava_encoder_folder()).save_pretrained(folder)
    TrainingRecord("CTDStage", 5, "32-true", model={"teacher_class": "SiglipTeacher"}).write(folder)
    with pytest.raises(ConfigError, match=f"SiglipTeacher, .* features of a LLaVA-OneVision alone; .*{_ADVICE}"):
        llava_lma(encoder=str(folder)).check_sources()
    width = LiteFrameEncoder.from_pretrained(encoder_folder()).config.output_size
    with pytest.raises(ConfigError, match=f"gives features of width {width}, .* takes {WIDTH}; .*{_ADVICE}"):
        llava_lma(encoder=str(encoder_folder())).check_sources()
    llava_config(vision_feature_layer=[-2, -1]).save_pretrained(tmp_path / "host")
    with pytest.raises(ConfigError, match="vision_feature_layer of config.json is"):
        llava_lma(host=str(tmp_path / "host")).check_sources()
    llava_lma().check_sources()


def test_a_text_as_teacher_is_told_how_to_name_it() -> None:
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "downsample_after": [1, 2]}
    with pytest.raises(ConfigError, match=f"'llava_onevision' is not of the InternVL family; set {_ADVICE}"):
        CTDStage(encoder=small, teacher=str(llava_folder())).check_sources()


@pytest.mark.parametrize("target", ["dense", "average"])
def test_lma_with_its_own_encoder_sees_what_it_is_to(target: Any, tmp_path: Path) -> None:
    module = llava_lma(encoder=None, train_encoder=False, target=target)
    make_trainer(tmp_path, max_steps=1).fit(module, video_data(train=str(manifest()), image_size=None, batch_size=2))
    model = module.model
    side = SIDE if target == "dense" else FILLED
    assert model is not None and model.frames_per_group == (1 if target == "dense" else 4)
    assert model.frames.image_size == (side, side)
    loaded = load_adapted(tmp_path / "export", "eager")
    assert loaded.frames_per_group == model.frames_per_group and loaded.frames.image_size == (side, side)
    assert shown(loaded)[0].shape[2] == OF_GROUP
    torch.testing.assert_close(logits(loaded), logits(model.eval()), **CLOSE)


def test_a_run_in_bfloat16_learns_the_embedding_that_ends_a_video(tmp_path: Path) -> None:
    module = llava_lma()
    data = video_data(train=str(manifest()), batch_size=2)
    make_trainer(tmp_path, max_steps=1, precision="bf16-true").fit(module, data)
    assert module.model is not None
    base = load_video_llm(str(llava_folder())).projector.image_newline
    moved = module.model.projector.image_newline.float() - base.to(torch.bfloat16).float()
    assert moved.isfinite().all() and moved.any()


def test_a_tied_head_stays_tied_in_an_export(tmp_path: Path) -> None:
    host = llava_host(text={"tie_word_embeddings": True})
    encoder = LiteFrameEncoder.from_pretrained(llava_encoder_folder())
    LiteFrameForConditionalGeneration.from_host(host, encoder).save_pretrained(tmp_path)
    loaded: Any = LiteFrameForConditionalGeneration.from_pretrained(tmp_path)
    assert loaded.lm_head.weight is loaded.language_model.embed_tokens.weight
    assert torch.equal(loaded.lm_head.weight, host.get_input_embeddings().weight)


def test_an_exports_config_knows_its_familys_tokens() -> None:
    with pytest.raises(ConfigError, match="newline_token_id is None, and a LLaVA-OneVision needs an id"):
        LiteFrameVideoConfig(base_vlm="llava_onevision")
    with pytest.raises(ConfigError, match="newline_token_id is 5, and a InternVL has no such token"):
        LiteFrameVideoConfig(newline_token_id=5)
    with pytest.raises(ConfigError, match="newline_token_id is -1; it must be the id of a token"):
        LiteFrameVideoConfig(base_vlm="llava_onevision", newline_token_id=-1)


def test_questions_of_a_test_are_answered_as_in_chat(tmp_path: Path) -> None:
    source = llava_lma_folder() / "export"
    with decoding_in_process():
        rows = video_data(test=str(manifest("test")), frames=6, batch_size=2)
        make_trainer(tmp_path).test(EvaluateStage(str(source), "words", "eager"), rows, verbose=False)
        model, right = load_video_llm(source, "eager"), []
        for batch in video_data(test=str(manifest("test")), frames=6, batch_size=1).loader("test"):
            (groups,) = model.groups(batch["valid_frames_B"])
            with torch.no_grad():
                visual = model.project(model.encode(batch["frames_BTCHW"]))
                for question in batch["rows"][0]["questions"]:
                    found = model.prefill(visual, prompt_ids(model, visual, question["question"], groups))[0]
                    first = [model.prompts.first_token(option) for option in question["options"]]
                    right.append(question["options"][int(found[first].argmax())] == question["answer"])
    figures = json.loads((tmp_path / "evaluation.json").read_text())
    assert figures["questions"] == len(right) == 12
    assert figures["accuracy"] == pytest.approx(sum(right) / 12)
