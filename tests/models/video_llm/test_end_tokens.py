"""An answer ends at each token that the host's generation config names, as in transformers' own `generate`."""

from __future__ import annotations

import json
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import InternVLForConditionalGeneration

import liteframe
from host_world import bpe_processor
from liteframe.command.export import export_command
from liteframe.errors import ConfigError
from liteframe.hf import LiteFrameForConditionalGeneration, LiteFrameProcessor
from liteframe.hf.loading import load_video_llm
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.generation import Conversation, answer_batch, prompt_ids
from liteframe.models.video_llm.model import VideoLLM
from liteframe.tiny.models import tiny_config
from tiny_world import ENCODER, home

QUESTION, MOST = "color of the star", 12


@lru_cache
def talkative() -> Path:
    """A host with a head of its own, so that what comes next is not just what came last."""
    processor = bpe_processor()
    config = tiny_config(processor.tokenizer)
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = False
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        InternVLForConditionalGeneration(config).save_pretrained(home() / "talkative")
    processor.save_pretrained(home() / "talkative")
    return home() / "talkative"


def host_ending_with(folder: Path, ends: Any) -> Path:
    """That host with a `generation_config.json` that says so; None leaves it out."""
    shutil.copytree(talkative(), folder)
    path = folder / "generation_config.json"
    path.write_text(json.dumps({"eos_token_id": ends} if ends is not None else {}))
    return folder


def frames() -> torch.Tensor:
    return torch.randn(1, 2, 3, 112, 112, generator=torch.Generator().manual_seed(0))


def answer(model: VideoLLM) -> list[int]:
    with torch.no_grad():
        visual = model.project(model.encode(frames()))
    said = list(Conversation(model, visual).reply(QUESTION, MOST))
    assert answer_batch(model, [visual, visual], [QUESTION, QUESTION], MOST) == [said, said]
    return said


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    """What the host says where no token that it comes to ends it."""
    folder = host_ending_with(tmp_path_factory.mktemp("host") / "host", None)
    said = answer(load_video_llm(folder, "eager"))
    assert len(said) == MOST and len(set(said)) > 1
    return said


@pytest.mark.parametrize("kind", ["one", "several"])
def test_each_of_them_ends_an_answer(kind: str, endless: list[int], tmp_path: Path) -> None:
    end = next(token for token in endless if token != endless[0])
    never = next(number for number in range(99, 999) if number not in endless)
    folder = host_ending_with(tmp_path / "host", end if kind == "one" else [never, end])
    host, processor = load_base_vlm(str(folder), "eager")
    model = VideoLLM(host, processor).eval()
    assert model.end_ids >= {end, processor.tokenizer.eos_token_id}
    said = answer(model)
    assert said == endless[: endless.index(end)] and 1 <= len(said) < MOST
    visual = model.project(model.encode(frames()))
    ids = torch.tensor([prompt_ids(model, visual, QUESTION)])
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": frames()[0]}
    theirs = host.generate(**given, max_new_tokens=MOST, do_sample=False)[0, ids.shape[1] :].tolist()
    assert theirs == [*said, end]


def test_the_tokenizer_s_own_ends_it_too(endless: list[int], tmp_path: Path) -> None:
    never = next(number for number in range(99, 999) if number not in endless)
    other = next(token for token in endless if token != endless[0])
    model = load_video_llm(host_ending_with(tmp_path / "host", [never]), "eager")
    model.prompts.tokenizer.eos_token = model.prompts.tokenizer.convert_ids_to_tokens(other)
    assert answer(model) == endless[: endless.index(other)]


def test_the_model_exported_ends_where_the_host_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    LiteFrameEncoder(LiteFrameConfig(**ENCODER)).save_pretrained(tmp_path / "ctd" / "export")
    plain = host_ending_with(tmp_path / "plain", None)
    export_command(str(tmp_path / "ctd"), str(tmp_path / "endless"), host=str(plain))
    said = answer(load_video_llm(tmp_path / "endless", "eager"))
    end = next(token for token in said[1:] if token != said[0])
    host = host_ending_with(tmp_path / "host", [end, 9])
    export_command(str(tmp_path / "ctd"), str(tmp_path / "out"), host=str(host))
    expected = said[: said.index(end)]
    assert answer(load_video_llm(tmp_path / "out", "eager")) == expected != said
    model = LiteFrameForConditionalGeneration.from_pretrained(tmp_path / "out")
    processor = LiteFrameProcessor.from_pretrained(tmp_path / "out")
    own = processor.tokenizer.eos_token_id
    assert set(model.generation_config.eos_token_id) == {end, 9, own}


@pytest.mark.parametrize("ends", ["<|im_end|>", [3, "x"], -1, [True], {"id": 3}])
def test_what_is_no_token_is_named(ends: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="eos_token_id|generation"):
        load_video_llm(host_ending_with(tmp_path / "host", ends))


def test_what_greedy_answers_do_not_follow_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = host_ending_with(tmp_path / "host", 3)
    liteframe.load(folder, device="cpu")
    assert "not applied" not in capsys.readouterr().err
    path = folder / "generation_config.json"
    path.write_text(json.dumps({"eos_token_id": 3, "repetition_penalty": 1.05, "do_sample": True, "temperature": 0.7}))
    liteframe.load(folder, device="cpu")
    assert "of its generation config repetition_penalty 1.05 is not applied" in capsys.readouterr().err
