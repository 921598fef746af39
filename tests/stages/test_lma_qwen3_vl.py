"""LMA of a Qwen3-VL: a student is distilled from its encoder, learns with its LLM, and is exported and read again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from liteframe.chat.model import ChatModel
from liteframe.command.export import export_command
from liteframe.data.datamodule import VideoDataModule
from liteframe.data.sampling import UniformMidpoints
from liteframe.data.store.clip_store import ClipStore, StoredFrames
from liteframe.errors import ConfigError, DataError
from liteframe.hf import LiteFrameForConditionalGeneration, LiteFrameProcessor
from liteframe.hf.loading import load_video_llm
from liteframe.models.backbone import WAP
from liteframe.models.folders.training_record import TrainingRecord
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.student.from_teacher import student_fields
from liteframe.models.teachers import Qwen3VL
from liteframe.models.video_llm.adapted import load_adapted
from liteframe.models.video_llm.generation import prompt_ids
from liteframe.models.video_llm.model import VideoLLM
from liteframe.stages.ctd import CTDStage
from liteframe.stages.evaluate import EvaluateStage
from qwen3_world import FEATURES, qwen3_config, qwen3_encoder_folder, qwen3_folder, qwen3_lma, qwen3_lma_folder, video
from students_of_hosts import require_loss_of_prompts
from tiny_world import decoding_in_process, encoder_folder, home, make_trainer, manifest, video_data

QUESTION = "color of the star"
RATE = 4.0


def shown(model: VideoLLM, frames: int = 6) -> tuple[torch.Tensor, list[int]]:
    pixels = video(frames)
    visual = model.project(model.encode(pixels[None]))
    groups = model.groups_of(frames, [index / RATE for index in range(frames)])
    return visual, prompt_ids(model, visual, QUESTION, groups)


def logits(model: VideoLLM) -> torch.Tensor:
    with torch.no_grad():
        return model.prefill(*shown(model))


def test_a_student_follows_the_teacher() -> None:
    fields = student_fields(Qwen3VL(str(qwen3_folder())), WAP((2, 2, 2), saliency="norm"), {})
    assert fields["output_size"] == FEATURES and fields["patch_size"] == 14 and fields["clip_frames"] == 4
    assert LiteFrameEncoder.from_pretrained(qwen3_encoder_folder()).config.output_size == FEATURES


def test_loss_is_of_the_prompts_with_their_timestamps_and_falls() -> None:
    parts = ("backbone.encoder", "projector.merger", "projector.deepstack_mergers.1", "lora_A", "lora_B")
    require_loss_of_prompts(qwen3_lma(), parts, falls_by=0.5)


@pytest.mark.parametrize("merge", [True, False])
def test_the_export_is_the_model_of_the_run(merge: bool) -> None:
    folder = qwen3_lma_folder()
    expected = logits(load_adapted(folder / "export", "eager"))
    assert expected.std() > 0.1, "logits of a random model are not all alike"
    out = home() / f"qwen3-exported-{merge}"
    assert export_command(str(folder), str(out), merge=merge, max_shard_size="1MB") == 0
    close = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(logits(load_video_llm(str(out), "eager")), expected, **close)
    model = LiteFrameForConditionalGeneration.from_pretrained(out)
    processor = LiteFrameProcessor.from_pretrained(out)
    message = {"role": "user", "content": [{"type": "video", "video": video(6)}, {"type": "text", "text": QUESTION}]}
    text = processor.apply_chat_template([message], add_generation_prompt=True, tokenize=False)
    inputs = processor(text=text, videos=[video(6)], video_fps=RATE)
    prompt = processor.tokenizer.decode(inputs["input_ids"][0])
    assert prompt.startswith("<|im_start|>user\n<0.4 seconds><|vision_start|><|video_pad|>")
    assert prompt.endswith(f"<|vision_end|>{QUESTION}<|im_end|>\n<|im_start|>assistant\n")
    rendered = {"tokenize": True, "return_dict": True, "video_fps": RATE}
    at_once = processor.apply_chat_template([message], add_generation_prompt=True, **rendered)
    assert torch.equal(at_once["input_ids"], inputs["input_ids"])
    assert "video_fps" in (out / "README.md").read_text() and "still image" not in (out / "README.md").read_text()
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs).logits[:, -1], expected, **close)
        # Two prompts padded on the left, one of them of a longer video.
        both = processor(text=[text, text], videos=[video(6), video(12)], video_fps=RATE)
        torch.testing.assert_close(model(**both).logits[:1, -1], expected, **close)
        alone = model.generate(**inputs, max_new_tokens=4, min_new_tokens=4, do_sample=False)[0, -4:]
        first = model.generate(**both, max_new_tokens=4, min_new_tokens=4, do_sample=False)[0, -4:]
        assert torch.equal(alone, first)
        ids = inputs["input_ids"]
        for token in alone[:3]:  # each from the whole prompt, without a cache
            ids = torch.cat([ids, token[None, None]], dim=1)
            again = {**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids)}
            last = model(**again).logits[0, -1]
        assert last.argmax() == alone[3]
    with pytest.raises(DataError, match="give video_fps"):
        processor(text=text, videos=[video(6)])
    with pytest.raises(DataError, match="takes videos alone"):
        processor(images=[video(1)[0].permute(1, 2, 0).numpy()])


def test_it_chats_about_files() -> None:
    folder = qwen3_lma_folder()
    row = manifest().read_text().splitlines()[0]
    path = str(Path(manifest().parent, json.loads(row)["path"]))
    for model in (load_adapted(folder / "export", "eager"), load_video_llm(str(qwen3_folder()), "eager")):
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
    r"--model\.teacher\.class_path Qwen3VL --model\.teacher\.init_args\.source \S*host-qwen3-vl --model\.saliency norm"
)


def student_of(teacher: dict[str, str], folder: Path) -> str:
    """The encoder of the Qwen3-VL, with a record of another training."""
    LiteFrameEncoder.from_pretrained(qwen3_encoder_folder()).save_pretrained(folder)
    TrainingRecord("CTDStage", 5, "32-true", model=teacher).write(folder)
    return str(folder)


def test_another_teachers_student_is_refused_by_its_record(tmp_path: Path) -> None:
    encoder = student_of({"teacher_class": "InternVLTeacher"}, tmp_path / "encoder")
    with pytest.raises(ConfigError, match=f"InternVLTeacher, .* reads features of a Qwen3-VL alone; .*{_ADVICE}"):
        qwen3_lma(encoder=encoder).check_sources()
    qwen3_lma(encoder=student_of({"teacher_class": "Qwen3VLTeacher"}, tmp_path / "encoder")).check_sources()


def test_a_student_of_another_width_is_refused_before_the_base_vlm_is_read() -> None:
    with pytest.raises(ConfigError, match=f"gives features of width 128, .* takes {FEATURES}; .*{_ADVICE}"):
        qwen3_lma(encoder=str(encoder_folder())).check_sources()


def test_a_base_vlm_that_cannot_be_read_is_refused_before_it_is_read(tmp_path: Path) -> None:
    qwen3_config(out_hidden_size=16).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="out_hidden_size of the vision config is 16"):
        qwen3_lma(host=str(tmp_path)).check_sources()


def test_a_student_of_another_base_vlm_of_the_family_is_pointed_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = qwen3_lma()
    capsys.readouterr()
    own.check_sources()
    assert not capsys.readouterr().out
    other = tmp_path / "another-qwen3-vl"
    qwen3_config().save_pretrained(other)
    qwen3_lma(host=str(other)).check_sources()
    found = capsys.readouterr().out
    assert "host-qwen3-vl, and the base VLM is" in found and "does not know these features" in found


def test_a_text_as_teacher_is_told_how_to_name_it() -> None:
    small = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 112,
        "downsample_after": [1, 2],
    }
    with pytest.raises(ConfigError, match=f"model_type 'qwen3_vl' is not of the InternVL family; set {_ADVICE}"):
        CTDStage(encoder=small, teacher=str(qwen3_folder())).check_sources()


def test_frames_without_times_are_refused() -> None:
    module = qwen3_lma()
    module.configure_model()
    assert module.model is not None
    with pytest.raises(ConfigError, match="nothing says when these frames are"):
        module.model.groups(torch.tensor([4]))


def test_a_run_of_low_precision_is_told_true_seconds_of_clips_that_were_kept_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def data() -> VideoDataModule:
        store = ClipStore(str(tmp_path / "clips"))
        rows: dict[str, Any] = {"train": str(manifest()), "batch_size": 2, "train_sampler": UniformMidpoints()}
        return video_data(**rows, clip_store=store)

    write, groups_of = ClipStore.write, VideoLLM.groups_of
    known: set[Any] = set()
    told: list[Any] = []

    def written_earlier(store: ClipStore, request: str, clip: StoredFrames) -> None:
        known.add(clip.times_s)
        write(store, request, replace(clip, times_s=None))

    def noted(model: VideoLLM, frames: int, times_s: Any = None) -> Any:
        told.append(times_s)
        return groups_of(model, frames, times_s)

    with monkeypatch.context() as earlier:
        earlier.setattr(ClipStore, "write", written_earlier)
        before = data()
        before.setup("fit")
        for _ in before.train_dataloader():
            pass
    monkeypatch.setattr(VideoLLM, "groups_of", noted)
    make_trainer(tmp_path, max_steps=1, precision="bf16-true").fit(qwen3_lma(), data())
    assert len(told) == 2 and set(told) <= known


@pytest.mark.parametrize("target", ["dense", "average"])
def test_lma_with_its_own_encoder_pools_as_many_frames_as_with_a_student(target: Any, tmp_path: Path) -> None:
    module = qwen3_lma(encoder=None, train_encoder=False, target=target)
    make_trainer(tmp_path, max_steps=1).fit(module, video_data(train=str(manifest()), batch_size=2))
    model = module.model
    assert model is not None and model.frames_per_group == (2 if target == "dense" else 4)
    loaded = load_adapted(tmp_path / "export", "eager")
    assert loaded.frames_per_group == model.frames_per_group
    torch.testing.assert_close(logits(loaded), logits(model.eval()), rtol=1e-4, atol=1e-4)


def test_questions_of_a_test_are_answered_as_in_chat(tmp_path: Path) -> None:
    source = qwen3_lma_folder() / "export"
    with decoding_in_process():
        rows = video_data(test=str(manifest("test")), frames=6, batch_size=2)
        make_trainer(tmp_path).test(EvaluateStage(str(source), "words", "eager"), rows, verbose=False)
        model, right = load_video_llm(source, "eager"), []
        for batch in video_data(test=str(manifest("test")), frames=6, batch_size=1).loader("test"):
            (groups,) = model.groups(batch["valid_frames_B"], batch["frame_times_s"])
            with torch.no_grad():
                visual = model.project(model.encode(batch["frames_BTCHW"]))
                for question in batch["rows"][0]["questions"]:
                    found = model.prefill(visual, prompt_ids(model, visual, question["question"], groups))[0]
                    first = [model.prompts.first_token(option) for option in question["options"]]
                    right.append(question["options"][int(found[first].argmax())] == question["answer"])
    figures = json.loads((tmp_path / "evaluation.json").read_text())
    assert figures["questions"] == len(right) == 12
    assert figures["accuracy"] == pytest.approx(sum(right) / 12)
