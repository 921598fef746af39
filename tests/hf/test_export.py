"""What `liteframe export` writes is the model of the run, in any process, for anybody who has transformers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor, InternVLForConditionalGeneration, pipeline

from liteframe.command import cli
from liteframe.command.export import export_command
from liteframe.errors import ConfigError
from liteframe.hf import LiteFrameForConditionalGeneration, LiteFrameProcessor
from liteframe.hf.loading import load_video_llm
from liteframe.hf.run_folder import RunFolder
from liteframe.models.folders.training_record import TeacherName, TrainingRecord
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.video_llm.adapted import load_adapted
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.model import LiteFrameBackbone, VideoLLM
from liteframe.system.own_folder import LISTING
from liteframe.tiny.models import build_tiny_base_vlm
from tiny_world import encoder_folder, home, host_folder, lma_run_folder, sha256_of

QUESTION = "color of the star"
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def frames() -> Tensor:
    return torch.randint(0, 255, (8, 3, 112, 112), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@lru_cache
def exported(merge: bool) -> Path:
    folder = home() / f"exported-{merge}"
    assert export_command(str(lma_run_folder()), str(folder), merge=merge, max_shard_size="1MB") == 0
    return folder


def messages() -> list[dict[str, object]]:
    return [
        {"role": "user", "content": [{"type": "video", "video": frames()}, {"type": "text", "text": QUESTION}]},
    ]


def logits(model: LiteFrameForConditionalGeneration, processor: LiteFrameProcessor) -> Tensor:
    """After the prompt, from the way that users of transformers go."""
    inputs = processor.apply_chat_template(messages(), add_generation_prompt=True, tokenize=True, return_dict=True)
    with torch.no_grad():
        return model(**inputs).logits[:, -1]


def reference(model: VideoLLM) -> Tensor:
    """From the model that stages train and measure."""
    from liteframe.data.transforms import normalize

    before, after = model.prompts.question_ids(QUESTION, 2, 4)
    with torch.no_grad():
        return model.prefill(model.project(model.encode(normalize(frames())[None])), before + after)


def load(folder: Path) -> tuple[LiteFrameForConditionalGeneration, LiteFrameProcessor]:
    model = LiteFrameForConditionalGeneration.from_pretrained(folder)
    return model, LiteFrameProcessor.from_pretrained(folder)


@pytest.mark.parametrize("merge", [True, False])
def test_logits_are_those_before_the_export(merge: bool) -> None:
    expected = reference(load_adapted(lma_run_folder() / "export"))
    assert expected.std() > 0.1, "logits of a random model are not all alike"
    torch.testing.assert_close(logits(*load(exported(merge))), expected, **CLOSE)


@pytest.mark.parametrize("merge", [True, False])
def test_chat_and_evaluation_load_what_was_exported(merge: bool) -> None:
    expected = reference(load_adapted(lma_run_folder() / "export", "eager"))
    torch.testing.assert_close(reference(load_video_llm(exported(merge), "eager")), expected, **CLOSE)


def test_an_adapter_kept_apart_is_the_run_s_and_the_llm_beside_it_the_base_vlm_s() -> None:
    apart = exported(False)
    assert sha256_of(apart / "adapter") == sha256_of(lma_run_folder() / "export" / "adapter")
    assert not (exported(True) / "adapter").exists()
    weights = {name: tensor for path in apart.glob("*.safetensors") for name, tensor in load_file(path).items()}
    host = load_file(host_folder() / "model.safetensors")
    own = {name: tensor for name, tensor in weights.items() if name.startswith("language_model.")}
    theirs = {
        "language_model." + name.split("language_model.", 1)[1].removeprefix("model."): name
        for name in host
        if "language_model." in name
    }
    assert own.keys() == theirs.keys() and len(own) > 20
    assert all(torch.equal(own[name], host[theirs[name]]) for name in own)


def test_a_loaded_model_saves_itself_merged(tmp_path: Path) -> None:
    model, processor = load(exported(False))
    assert not any("lora" in name for name, _ in model.named_parameters())
    expected = logits(model, processor)
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(logits(LiteFrameForConditionalGeneration.from_pretrained(tmp_path), processor), expected)


def test_auto_classes_load_it_in_a_new_process(tmp_path: Path) -> None:
    code = (
        "import sys, torch, liteframe.hf\n"
        "torch.set_num_threads(int(sys.argv.pop()))\n"
        "from transformers import AutoModel, AutoModelForImageTextToText, AutoProcessor\n"
        "out, encoder, saved = sys.argv[1:]\n"
        "processor = AutoProcessor.from_pretrained(out)\n"
        "model = AutoModelForImageTextToText.from_pretrained(out)\n"
        "parts = torch.load(saved)\n"
        "with torch.no_grad():\n"
        "    inputs = processor.apply_chat_template(parts['messages'], add_generation_prompt=True, tokenize=True,"
        " return_dict=True)\n"
        "    answer = model.generate(**inputs, max_new_tokens=3)\n"
        "    torch.save({'logits': model(**inputs).logits[:, -1], 'answer': answer,\n"
        "        'features': AutoModel.from_pretrained(encoder)(parts['frames'])[0]}, saved)\n"
    )
    saved = tmp_path / "parts.pt"
    pixels = torch.randn(1, 4, 3, 112, 112)
    torch.save({"messages": messages(), "frames": pixels}, saved)
    threads = str(torch.get_num_threads())
    command = [sys.executable, "-c", code, str(exported(False)), str(encoder_folder()), str(saved), threads]
    subprocess.run(command, check=True, cwd=tmp_path)
    found = torch.load(saved)
    torch.testing.assert_close(found["logits"], reference(load_adapted(lma_run_folder() / "export")), **CLOSE)
    with torch.no_grad():
        features = LiteFrameEncoder.from_pretrained(encoder_folder())(pixels).last_hidden_state
    assert torch.equal(found["features"], features)
    assert found["answer"].shape[1] <= 14 + 3 + 4


@pytest.mark.parametrize("task", ["image-text-to-text", "any-to-any"])
def test_pipelines_answer_as_the_model_does(task: str, caplog: pytest.LogCaptureFixture) -> None:
    model, processor = load(exported(False))
    inputs = processor.apply_chat_template(messages(), add_generation_prompt=True, tokenize=True, return_dict=True)
    answer = model.generate(**inputs, max_new_tokens=4)[0, inputs["input_ids"].shape[1] :]
    ask = pipeline(task, model=str(exported(False)))
    (found,) = ask(text=messages(), max_new_tokens=4, return_full_text=False)
    assert found["generated_text"].strip() == processor.decode(answer, skip_special_tokens=True).strip() != ""
    assert "not supported" not in caplog.text


@pytest.mark.parametrize("kind", ["missing", "unexpected", "shape", "adapter"])
def test_weights_that_do_not_fit_are_named(kind: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported(False), tmp_path / "out"))
    (folder / LISTING).unlink()  # changed on purpose
    index = folder / "model.safetensors.index.json"
    name = "projector.linear_1.weight"
    path = folder / json.loads(index.read_text())["weight_map"][name]
    if kind == "adapter":
        path = folder / "adapter" / "adapter_model.safetensors"
        name = sorted(load_file(path))[0]
    tensors = load_file(path)
    if kind in ("missing", "adapter"):
        del tensors[name]
    elif kind == "shape":
        tensors[name] = torch.zeros(3)
    else:
        name = "projector.odd.weight"
        tensors[name] = torch.zeros(3)
        places = json.loads(index.read_text())
        places["weight_map"][name] = path.name
        index.write_text(json.dumps(places))
    save_file(tensors, path, metadata={"format": "pt"})
    for model_class in (LiteFrameForConditionalGeneration, AutoModelForImageTextToText):
        with pytest.raises(ConfigError, match=name.replace(".", r"\.")):
            model_class.from_pretrained(folder)


def test_a_missing_shard_or_adapter_is_named(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported(False), tmp_path / "out"))
    (folder / LISTING).unlink()  # changed on purpose
    shutil.rmtree(folder / "adapter")
    with pytest.raises(ConfigError, match="adapter"):
        LiteFrameForConditionalGeneration.from_pretrained(folder)
    shard = sorted(folder.glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(ConfigError, match=shard.name):
        LiteFrameForConditionalGeneration.from_pretrained(folder)


def test_shards_are_as_small_as_asked_for() -> None:
    sizes = [path.stat().st_size for path in exported(True).glob("model-*.safetensors")]
    assert len(sizes) > 3 and max(sizes) < 1_100_000


def write_teacher(export: Path, kind: str, source: str) -> None:
    """The record of CTD with that teacher."""
    TrainingRecord("CTDStage", 5, "32-true", teacher=TeacherName.seen_from(export, kind, source)).write(export)


def test_the_encoder_of_ctd_goes_into_the_base_vlm_as_it_is(tmp_path: Path) -> None:
    shutil.copytree(encoder_folder(), tmp_path / "ctd" / "export")
    with pytest.raises(ConfigError, match="--host"):
        export_command(str(tmp_path / "ctd"), str(tmp_path / "out"))
    write_teacher(tmp_path / "ctd" / "export", "InternVL", str(host_folder()))
    assert cli.main(["export", str(tmp_path / "ctd"), str(tmp_path / "out")]) == 0
    host, processor = load_base_vlm(str(host_folder()))
    encoder = LiteFrameBackbone(LiteFrameEncoder.from_pretrained(encoder_folder()))
    expected = reference(VideoLLM(host, processor, encoder, frames_per_group=4).eval())
    torch.testing.assert_close(logits(*load(tmp_path / "out")), expected, **CLOSE)


def test_only_an_internvl_that_was_the_teacher_is_the_base_vlm(tmp_path: Path) -> None:
    shutil.copytree(encoder_folder(), tmp_path / "ctd" / "export")
    for source in (str(host_folder()), "org/host"):
        write_teacher(tmp_path / "ctd" / "export", "InternVL", source)
        assert RunFolder.open(tmp_path / "ctd").host(None) == source
    write_teacher(tmp_path / "ctd" / "export", "Siglip", "org/siglip")
    with pytest.raises(ConfigError, match=r"distilled from Siglip .* no base VLM; .*--host"):
        RunFolder.open(tmp_path / "ctd").host(None)


def test_a_head_of_its_own_is_kept(tmp_path: Path) -> None:
    """As in the 8B host, whose LLM does not share its head with the embeddings."""
    host, processor = build_tiny_base_vlm()
    config = type(host.config).from_dict({**host.config.to_dict(), "tie_word_embeddings": False})
    config.text_config.tie_word_embeddings = False
    own = InternVLForConditionalGeneration(config)
    own.save_pretrained(tmp_path / "host")
    processor.save_pretrained(tmp_path / "host")
    export_command(str(encoder_folder()), str(tmp_path / "out"), host=str(tmp_path / "host"), dtype="bfloat16")
    model = LiteFrameForConditionalGeneration.from_pretrained(tmp_path / "out")
    assert model.dtype == torch.bfloat16
    assert torch.equal(model.lm_head.weight, own.lm_head.weight.bfloat16())
    assert not torch.equal(model.lm_head.weight, model.get_input_embeddings().weight)


def test_the_card_has_the_records_and_no_folder_of_the_machine() -> None:
    text = (exported(False) / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: transformers\n") and text.count("FILL IN") == 3
    for part in (
        "350 steps in bf16-mixed",
        "123 s",
        "questions_per_video: 4",
        "| 16 | 16 | 0.791 | 0.770 to 0.812 | 4.5 | 7.5 |",
    ):
        assert part in text
    for path in exported(False).rglob("*"):
        if path.suffix in (".json", ".md", ".jinja"):
            assert str(home()) not in path.read_text(), path


def test_the_processor_takes_as_many_frames_as_were_trained_on() -> None:
    processor = AutoProcessor.from_pretrained(exported(True))
    assert (processor.num_frames, processor.image_size, processor.tokens_per_clip) == (32, [112, 112], 4)


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no export of LMA or CTD"):
        export_command(str(tmp_path), str(tmp_path / "out"))
    with pytest.raises(ConfigError, match="exists; remove it"):
        export_command(str(lma_run_folder()), str(tmp_path))
    with pytest.raises(ConfigError, match=r"out\.onnx: --merge.* encoder alone"):
        export_command(str(lma_run_folder()), str(tmp_path / "out.onnx"), merge=True)
    with pytest.raises(ConfigError, match="--dtype int8"):
        export_command(str(lma_run_folder()), str(tmp_path / "out"), dtype="int8")
    wide = LiteFrameEncoder.from_pretrained(encoder_folder()).config
    wide.output_size = 64
    LiteFrameEncoder(wide).save_pretrained(tmp_path / "narrow")
    with pytest.raises(ConfigError, match="width 64, the base VLM takes 128"):
        export_command(str(tmp_path / "narrow"), str(tmp_path / "out"), host=str(host_folder()))
    assert not (tmp_path / "out").exists()
