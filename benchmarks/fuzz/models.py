"""Model folders: an encoder, a host, what LMA exports, and the exported Video LLM with its adapter apart or merged."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import InternVLConfig, InternVLForConditionalGeneration, Qwen2Config

from fuzz.model_changes import CHANGES
from fuzz.outcome import Input, Verdict
from liteframe.command.export import export_command
from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.hf.loading import load_video_llm
from liteframe.models.folders.training_record import TrainingRecord
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.video_llm.adapted import save_adapted
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.system.own_folder import drop_listing, is_own, list_files
from liteframe.tiny.models import tiny_processor

_SEEDS = {"encoder": "encoder", "host": "host", "run/export": "lma", "model": "model", "merged": "merged"}


class Models:
    """Loads a folder as `chat`, `export` and `lma` do, and writes a prompt with it."""

    share, deadline_s = 8, 40.0

    def __init__(self, seeds: Path) -> None:
        self.seeds, self.names = seeds, []
        self._truth: dict[str, tuple[dict[str, torch.Tensor], str]] = {}

    def prepare(self) -> None:
        torch.manual_seed(0)
        _host().save_pretrained(self.seeds / "host", max_shard_size="40KB")
        tiny_processor(4).save_pretrained(self.seeds / "host")
        encoder = LiteFrameEncoder(
            LiteFrameConfig(
                image_size=56, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, output_size=32,
                downsample_after=[1, 2],
            )
        )  # fmt: skip
        encoder.save_pretrained(self.seeds / "encoder")
        host, _ = load_base_vlm(str(self.seeds / "host"))
        llm = get_peft_model(host.model.language_model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
        for parameter in llm.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        run = self.seeds / "run"
        save_adapted(run / "export", str(self.seeds / "host"), encoder, llm, host.model.multi_modal_projector)
        TrainingRecord("LMAStage", 5, "32-true", FrameSpec((56, 56), 4, None, 8)).write(run / "export")
        for name, merge in (("model", False), ("merged", True)):
            export_command(str(run), str(self.seeds / name), merge)
        drop_listing(self.seeds / "merged")  # as from elsewhere
        for folder in ("encoder", "run/export", "model"):
            list_files(self.seeds / folder)  # as the stages leave them

    def make(self, rng: random.Random, folder: Path) -> Input:
        seed = rng.choice(list(_SEEDS))
        path = folder / seed
        shutil.copytree(self.seeds / seed, path)
        if seed == "run/export":
            shutil.copytree(self.seeds / "host", folder / "host")
        if rng.random() < 0.03:
            return Input(f"{seed}: intact", path, {"seed": seed, "listed": is_own(path)}, True)
        what, refuse = rng.choice(CHANGES)(rng, path, self.names)
        if is_own(path) and rng.random() < 0.5:
            list_files(path)  # as somebody would who means it
            what, sealed = f"{what}, sealed", True
        else:
            sealed = False
        return Input(f"{seed}: {what}", path, {"seed": seed, "listed": is_own(path) and not sealed}, False, refuse)

    def feed(self, item: Input) -> Verdict:
        seed = item.data["seed"]
        if seed not in self._truth:
            place = self.seeds / seed
            self._truth[seed] = _load(place, seed)
        before, prompt_before = self._truth[seed]
        weights, prompt = _load(item.path, seed)
        odd = [name for name, tensor in before.items() if not _same(tensor, weights.get(name))]
        if item.data["listed"] and (odd or prompt != prompt_before or set(weights) != set(before)):
            return Verdict("silent", f"listed, but loaded with changes: {odd[:1]} {prompt != prompt_before}")
        infinite = [name for name, tensor in weights.items() if not torch.isfinite(tensor.float()).all()]
        if infinite:
            return Verdict("silent", f"not finite: {infinite[0]}")
        if odd and seed in ("encoder", "host", "merged"):
            there = [tensor for file in item.path.glob("*.safetensors") for tensor in load_file(file).values()]
            strange = [name for name in odd if not any(_same(weights.get(name), tensor) for tensor in there)]
            if strange:
                return Verdict("silent", f"weights that are not in the files: {strange[0]}")
            return Verdict("undetectable", odd[0])
        return Verdict("undetectable" if odd else "right")


def _load(path: Path, seed: str) -> tuple[dict[str, torch.Tensor], str]:
    """Weights by name, and whatever else counts, as text."""
    if seed == "encoder":
        encoder = LiteFrameEncoder.from_pretrained(path)
        return dict(encoder.state_dict()), str(encoder.config.to_dict() | {"_name_or_path": ""})
    model = load_video_llm(path)
    before, after = model.prompts.question_ids("color of the star", 2, 4)
    follow = model.prompts.follow_up_ids(["color of the star"], "color of the ball")
    return dict(model.state_dict()), str([before, after, follow])


def _same(one: torch.Tensor | None, two: torch.Tensor | None) -> bool:
    if one is None or two is None or (one.shape, one.dtype) != (two.shape, two.dtype):
        return False
    return torch.equal(one.reshape(-1).view(torch.uint8), two.reshape(-1).view(torch.uint8))


def _host() -> InternVLForConditionalGeneration:
    tokenizer = tiny_processor(4).tokenizer
    return InternVLForConditionalGeneration(
        InternVLConfig(
            vision_config={
                "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
                "image_size": [56, 56], "patch_size": [14, 14],
            },
            text_config=Qwen2Config(
                vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                num_key_value_heads=2, intermediate_size=16, tie_word_embeddings=True, bos_token_id=None,
                pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
            ),
            image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
            image_seq_length=4,
            tie_word_embeddings=True,
        )
    )  # fmt: skip
