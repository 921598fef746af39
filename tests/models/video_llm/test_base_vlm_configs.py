"""Every host of the family comes in whole: the published sizes without a hub, and folders with transformers' logits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import InternVLForConditionalGeneration

from host_world import FAMILY, TOKENS, bpe_processor, family_config, family_folder, family_host
from liteframe.command.configs import shipped_configs
from liteframe.errors import ConfigError
from liteframe.models.teachers import InternVLTeacher
from liteframe.models.video_llm.base_vlm_configs import base_vlm_config, published_base_vlms
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.model import VideoLLM

PUBLISHED = {
    "internvl3-1b": 0.94e9,
    "internvl3-2b": 2.09e9,
    "internvl3-8b": 7.94e9,
    "internvl3-14b": 15.1e9,
    "internvl3-38b": 38.4e9,
    "internvl3-78b": 78.4e9,
    "internvl3.5-1b": 1.06e9,
    "internvl3.5-2b": 2.35e9,
    "internvl3.5-4b": 4.73e9,
    "internvl3.5-8b": 8.53e9,
    "internvl3.5-14b": 15.1e9,
    "internvl3.5-38b": 38.4e9,
    "internvl3.5-30b-a3b": 30.8e9,
    "internvl3.5-241b-a28b": 241e9,
}
"""Parameters that the model cards name."""


class TestPublishedSizes:
    def test_all_ship(self) -> None:
        assert set(published_base_vlms()) == set(PUBLISHED)

    @pytest.mark.parametrize("name", PUBLISHED)
    def test_parameters_are_those_of_the_model_card(self, name: str) -> None:
        with torch.device("meta"):
            host = InternVLForConditionalGeneration(base_vlm_config(name))
        assert sum(parameter.numel() for parameter in host.parameters()) == pytest.approx(PUBLISHED[name], rel=0.01)
        tower = sum(parameter.numel() for parameter in host.model.vision_tower.parameters())
        large = name.split("-")[1] in ("38b", "78b", "241b")
        assert tower == pytest.approx(5.54e9 if large else 304e6, rel=0.01)

    def test_a_hub_id_needs_no_hub(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise AssertionError("the hub was asked")

        monkeypatch.setattr("liteframe.models.folders.model_folder.file_exists", refuse)
        monkeypatch.setattr("liteframe.models.folders.model_folder.try_to_load_from_cache", refuse)
        for path in sorted((shipped_configs() / "hosts").glob("*.json")):
            source = json.loads(path.read_text())["source"]
            assert base_vlm_config(source).to_dict() == base_vlm_config(path.stem).to_dict()
        assert base_vlm_config("OpenGVLab/InternVL3-8B-hf").text_config.hidden_size == 3584

    def test_a_folder_comes_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        family_config("llama", "6B").save_pretrained(tmp_path / "internvl3-8b")
        config = base_vlm_config("internvl3-8b")
        assert (config.text_config.model_type, config.vision_config.hidden_size) == ("llama", 48)

    def test_another_name_is_an_error(self) -> None:
        with pytest.raises(ConfigError, match="no model folder 'internvl9-1b'"):
            base_vlm_config("internvl9-1b")


def prompt(question: str) -> list[dict[str, Any]]:
    content = [{"type": "video", "url": ""}, {"type": "text", "text": question}]
    return [{"role": "user", "content": content}]


@pytest.mark.parametrize(("text", "tower"), FAMILY, ids=["-".join(kind) for kind in FAMILY])
@torch.no_grad()
def test_logits_are_those_of_transformers_prompt_for_prompt(text: str, tower: str) -> None:
    """The folder's own processor makes prompt and pixels for transformers; ours are built by `PromptBuilder`."""
    folder = family_folder(text, tower)
    theirs = InternVLForConditionalGeneration.from_pretrained(folder).eval()
    host, processor = load_base_vlm(str(folder))
    own = VideoLLM(host, processor).eval()
    video = torch.randint(0, 255, (3, 3, 112, 112), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    for question in ("color of the star", "What happens, and when?"):
        asked = processor.apply_chat_template(prompt(question), tokenize=False, add_generation_prompt=True)
        made = processor(text=[asked], videos=[video], do_sample_frames=False, return_tensors="pt")
        before, after = own.prompts.question_ids(question, 3, TOKENS)
        assert before + after == made.input_ids[0].tolist()
        said = processor.tokenizer.decode(before)
        assert "<|im_start|>user\nFrame1: <img>" in said and "</img>\nFrame3: <img>" in said
        expected = theirs(**made).logits
        visual = own.project(own.encode(made.pixel_values[None]))
        hidden = own.hidden_states(own.embed(made.input_ids, visual))
        assert torch.equal(own.lm_head(hidden), expected)
        torch.testing.assert_close(own.prefill(visual, before + after), expected[:, -1], rtol=1e-5, atol=1e-5)
    assert expected.std() > 0.1, "logits of a random model are not all alike"


@pytest.mark.parametrize(("text", "tower"), FAMILY, ids=["-".join(kind) for kind in FAMILY])
def test_weights_are_read_as_the_published_files_name_them(text: str, tower: str, tmp_path: Path) -> None:
    """Those were written when the LLM was a causal LM inside the host; experts have a tensor each."""
    folder = Path(shutil.copytree(family_folder(text, tower), tmp_path / "host"))
    tensors: dict[str, torch.Tensor] = {}
    for shard in folder.glob("*.safetensors"):
        tensors |= load_file(shard)
        shard.unlink()
    (folder / "model.safetensors.index.json").unlink()
    published = {_published_name(name): tensor.clone() for name, tensor in tensors.items()}
    assert any(name.startswith("language_model.model.layers.0.") for name in published)
    assert ("language_model.model.layers.1.mlp.experts.3.up_proj.weight" in published) == (text == "qwen3_moe")
    save_file(published, folder / "model.safetensors", metadata={"format": "pt"})
    host, _ = load_base_vlm(str(folder))
    expected = family_host(text, tower)
    assert host.config.text_config.model_type == text
    for (name, found), (_, wanted) in zip(host.named_parameters(), expected.named_parameters(), strict=True):
        assert torch.equal(found, wanted), name
    teacher = InternVLTeacher.from_pretrained(str(folder))
    assert teacher.weights_sha256() == InternVLTeacher.from_host(expected).weights_sha256()


def _published_name(name: str) -> str:
    name = name.removeprefix("model.")
    if name == "lm_head.weight":
        return "language_model.lm_head.weight"
    if name.startswith("language_model.") and not name.startswith(("language_model.model.", "language_model.lm_head.")):
        return name.replace("language_model.", "language_model.model.", 1)
    return name


def test_an_untied_host_whose_config_does_not_say_so_stays_untied(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(family_folder("qwen2", "300M"), tmp_path / "host"))
    fields = json.loads((folder / "config.json").read_text())
    del fields["tie_word_embeddings"]
    (folder / "config.json").write_text(json.dumps(fields))
    host, _ = load_base_vlm(str(folder))
    assert torch.equal(host.lm_head.weight, family_host("qwen2", "300M").lm_head.weight)
    assert not torch.equal(host.lm_head.weight, host.model.language_model.embed_tokens.weight)


class TestWhatDoesNotFit:
    """Every way in which a host can be wrong is an error that names it."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return Path(shutil.copytree(family_folder("qwen3", "300M"), tmp_path / "host"))

    def change(self, folder: Path, name: str, **fields: Any) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    def test_a_missing_shard(self, folder: Path) -> None:
        shard = sorted(folder.glob("*.safetensors"))[1]
        data = shard.read_bytes()
        shard.unlink()
        with pytest.raises(ConfigError, match=f"{shard.name} that the index names is missing; copy or download"):
            load_base_vlm(str(folder))
        shard.write_bytes(data[:-40])
        with pytest.raises(ConfigError, match="cannot be read.*copy or download"):
            load_base_vlm(str(folder))

    def test_no_weights(self, folder: Path) -> None:
        for file in [*folder.glob("*.safetensors"), folder / "model.safetensors.index.json"]:
            file.unlink()
        with pytest.raises(ConfigError, match=r"no model\.safetensors"):
            load_base_vlm(str(folder))

    def test_widths_of_another_size(self, folder: Path) -> None:
        fields = json.loads((folder / "config.json").read_text())
        self.change(folder, "config.json", text_config={**fields["text_config"], "intermediate_size": 40})
        with pytest.raises(ConfigError, match=r"\d+ weights of another shape, first .*proj.weight: .*48.* in the file"):
            load_base_vlm(str(folder))

    def test_the_form_with_its_own_code(self, folder: Path) -> None:
        code = {"AutoConfig": "configuration_internvl_chat.InternVLChatConfig"}
        self.change(folder, "config.json", model_type="internvl_chat", auto_map=code)
        with pytest.raises(ConfigError, match="twin that ends in -hf"):
            load_base_vlm(str(folder))

    def test_a_tokenizer_without_the_image_token(self, folder: Path) -> None:
        path = folder / "tokenizer_config.json"
        fields = json.loads(path.read_text())
        kept = {name: value for name, value in fields.items() if value != "<IMG_CONTEXT>"}
        for name in ("extra_special_tokens", "model_specific_special_tokens"):
            if isinstance(kept.get(name), dict):
                kept[name] = {role: token for role, token in kept[name].items() if token != "<IMG_CONTEXT>"}
        assert kept != fields
        path.write_text(json.dumps(kept))
        with pytest.raises(ConfigError, match="tokenizer lacks a token of the family.*context_image_token"):
            load_base_vlm(str(folder))

    def test_a_tokenizer_of_another_host(self, folder: Path) -> None:
        self.change(folder, "config.json", image_token_id=2)
        with pytest.raises(ConfigError, match=r"id of the image token '<IMG_CONTEXT>' is 5, image_token_id .* is 2"):
            load_base_vlm(str(folder))

    def test_a_vocabulary_larger_than_the_embeddings(self, folder: Path) -> None:
        tokenizer = bpe_processor().tokenizer
        larger = type(tokenizer).from_pretrained(folder)
        larger.add_tokens([f"word{n}" for n in range(9)])
        larger.save_pretrained(folder)
        with pytest.raises(ConfigError, match="embeddings for"):
            load_base_vlm(str(folder))

    @pytest.mark.parametrize("pattern", ["*token*", "processor_config.json", "chat_template.jinja"])
    def test_no_processor(self, folder: Path, pattern: str) -> None:
        found = list(folder.glob(pattern))
        assert found
        for file in found:
            file.unlink()
        with pytest.raises(ConfigError, match="copy tokenizer and processor"):
            load_base_vlm(str(folder))
