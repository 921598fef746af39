"""Model folders: an encoder, a host, what LMA exports, and the exported Video LLM with its adapter apart or merged."""

from __future__ import annotations

import json
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from fuzz.mutate import damage_file, mutate_tree, to_json
from fuzz.outcome import Input, Verdict
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import InternVLConfig, InternVLForConditionalGeneration, Qwen2Config

from liteframe.hf.export import export_command
from liteframe.hf.loading import load_video_llm
from liteframe.models.adapted import save_adapted
from liteframe.models.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.host_loading import load_host
from liteframe.models.tiny import tiny_processor
from liteframe.own_folder import LISTING, drop_listing, is_own, list_files

_SEEDS = {"encoder": "encoder", "host": "host", "run/export": "lma", "model": "model", "merged": "merged"}
_ABSURD = (0, -1, 3, 10**4, 10**6, 10**9, 10**12, 1e30, float("nan"), "1", None, [])
_TEMPLATES = (
    "{% for i in range(1000000000) %}x{% endfor %}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.system('TOUCH') }}",
    "{% include '/etc/passwd' %}",
    "{{ 'x' * 10**10 }}",
    "{{ raise_exception('no') }}",
    "{% if %}",
    "{{ messages[9].content }}",
)


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
        host, _ = load_host(str(self.seeds / "host"))
        llm = get_peft_model(host.model.language_model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
        for parameter in llm.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        run = self.seeds / "run"
        save_adapted(run / "export", str(self.seeds / "host"), encoder, llm, host.model.multi_modal_projector)
        (run / "config.yaml").write_text("data: {init_args: {image_size: 56, frames: 8}}\n")
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
        what, refuse = rng.choice(_CHANGES)(rng, path, self.names)
        if is_own(path) and rng.random() < 0.5:
            list_files(path)  # as somebody would who means it
            what, sealed = f"{what}, sealed", True
        else:
            sealed = False
        return Input(
            f"{seed}: {what}", path, {"seed": seed, "listed": is_own(path) and not sealed}, False, refuse
        )

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


_Change = tuple[str, str | None]
"""What was done, and the outcome where that is accepted though it must not be."""


def _files(path: Path, pattern: str = "*") -> list[Path]:
    return sorted(file for file in path.rglob(pattern) if file.is_file() and file.name != LISTING)


def _bytes(rng: random.Random, path: Path, names: list[Any]) -> _Change:
    files = _files(path, rng.choice(("*", "*.safetensors", "*.json")))
    return damage_file(rng, rng.choice(files), files), None


def _payload(rng: random.Random, path: Path, names: list[Any]) -> _Change:
    """A bit of a weight: the last quarter of such a file holds nothing else."""
    file = rng.choice(_files(path, "*.safetensors"))
    data = bytearray(file.read_bytes())
    data[-rng.randint(1, len(data) // 4)] ^= 1 << rng.randrange(8)
    file.write_bytes(data)
    return f"weight in {file.name}", None


def _structure(rng: random.Random, path: Path, names: list[Any]) -> _Change:
    texts = [file for file in _files(path, "*.json") if file.name != "tokenizer.json" or rng.random() < 0.2]
    file = rng.choice(texts)
    value, how = mutate_tree(rng, json.loads(file.read_bytes()), names)
    file.write_text(to_json(value))
    return f"{file.name}: {how}", None


def _number(rng: random.Random, path: Path, names: list[Any]) -> _Change:
    """An absurd size in a config."""
    file = rng.choice([file for file in _files(path, "*config.json") if "tokenizer" not in file.name])
    value = json.loads(file.read_bytes())
    holder = rng.choice([value, *(part for part in value.values() if isinstance(part, dict))])
    sizes = [name for name, size in holder.items() if isinstance(size, int | float) and not isinstance(size, bool)]
    name = rng.choice(sizes or ["num_hidden_layers"])
    holder[name] = rng.choice(_ABSURD)
    file.write_text(to_json(value))
    return f"{file.name}: {name} = {holder[name]}", None


def _code(rng: random.Random, path: Path, names: list[Any]) -> _Change:
    """Names of code where libraries look for them, and code beside them."""
    file = rng.choice(_files(path, "*.json"))
    value = json.loads(file.read_bytes())
    code = "import fuzz_canary\nclass Touch:\n    pass\n"
    for name in ("modeling_own.py", "__init__.py", "custom_generate/generate.py", "tokenization_own.py"):
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(code)
    own = {kind: "modeling_own.Touch" for kind in ("AutoConfig", "AutoModel", "AutoProcessor", "AutoTokenizer")}
    extra = rng.choice(
        (
            {"auto_map": own},
            {"auto_map": own, "model_type": "own"},
            {"tokenizer_class": "modeling_own.Touch", "auto_map": {"AutoTokenizer": ["modeling_own.Touch", None]}},
            {"processor_class": "fuzz_canary.Touch", "image_processor_type": "fuzz_canary.Touch"},
            {"auto_mapping": {"base_model_class": "Touch", "parent_library": "fuzz_canary"}, "task_type": None},
            {"quantization_config": {"quant_method": rng.choice(("bitsandbytes", "gptq", "own"))}},
            {"architectures": ["fuzz_canary.Touch"], "dtype": rng.choice(names or ["x"])},
            {"attn_implementation": "own/kernel", "_attn_implementation": "own/kernel"},
            {"projector_hidden_act": "fuzz_canary:touch", "hidden_act": "os.system"},
        )
    )
    if isinstance(value, dict):
        value |= extra
    file.write_text(to_json(value))
    return f"{file.name}: {list(extra)}", None


def _pickle(rng: random.Random, path: Path, names: list[Any]) -> _Change:
    """A pickle in place of the weights, under the names that are looked for, in an index, or under a safe name."""
    import os

    class Call:
        def __reduce__(self) -> Any:
            return os.system, (next((name for name in names if str(name).startswith("touch ")), "true"),)

    data, file = pickle.dumps({"weight": Call()}), rng.choice(_files(path, "*.safetensors"))
    how = rng.choice(("pytorch_model.bin", "adapter_model.bin", "model.pt", "same name", "index"))
    (file if how == "same name" else file.with_name("pytorch_model.bin" if how == "index" else how)).write_bytes(data)
    if how != "same name":
        keys = list(load_file(file)) or ["x"]
        file.unlink()
        if how == "index":
            index = {"metadata": {}, "weight_map": dict.fromkeys(keys, "pytorch_model.bin")}
            file.with_name(rng.choice(("model.safetensors.index.json", "pytorch_model.bin.index.json"))).write_text(
                json.dumps(index)
            )
    return f"pickle: {how}", "code"


def _outside(rng: random.Random, path: Path, names: list[Any]) -> _Change:
    """Weights or an adapter that lie outside, by name or by link; they are there, and whole."""
    out = next((str(name) for name in names if str(name).endswith("/witness")), "/witness")
    up = "../" * (2 if path.name == "export" else 1)
    target = rng.choice((f"{out}/", f"{up}../witness/"))
    if (path / "liteframe.json").is_file():
        card = json.loads((path / "liteframe.json").read_bytes())
        place = rng.choice([*names, f"{up}host", "org/name", ""])
        (path / "liteframe.json").write_text(json.dumps(card | {"host": place}))
        return f"host {place}", None
    config = json.loads((path / "config.json").read_bytes())
    if config.get("adapter") and rng.random() < 0.5:
        shutil.rmtree(path / "adapter")
        if rng.random() < 0.5:
            (path / "config.json").write_text(json.dumps(config | {"adapter": f"{target}adapter"}))
        else:
            (path / "adapter").symlink_to(Path(out) / "adapter")
        return "adapter outside", "escape"
    index = path / "model.safetensors.index.json"
    if index.is_file() and rng.random() < 0.6:
        value = json.loads(index.read_bytes())
        value["weight_map"] = {key: f"{target}host/{name}" for key, name in value["weight_map"].items()}
        index.write_text(json.dumps(value))
        return "weight_map outside", "escape"
    file = rng.choice(_files(path, "model*.safetensors"))
    file.unlink()
    file.symlink_to(Path(out) / "host" / file.name)
    return "link outside", "escape" if (Path(out) / "host" / file.name).exists() else None


def _pattern(rng: random.Random, path: Path, names: list[Any]) -> _Change:
    """Regular expressions of adapters."""
    found = _files(path, "adapter_config.json")
    if not found:
        return _template(rng, path, names)
    value = json.loads(found[0].read_bytes())
    evil = rng.choice(("(a+)+$", "(.*.*.*.*.*.*)*_projx", ".*", "(" * 2_000, "(?:[a-z_.]+)*[a-z_.]+!", "x" * 10**6))
    field = rng.choice(("target_modules", "exclude_modules", "layers_pattern", "rank_pattern", "alpha_pattern"))
    value[field] = {evil: 4} if field.endswith("_pattern") and field != "layers_pattern" else evil
    if field == "layers_pattern":
        value["layers_to_transform"] = [0]
    found[0].write_text(json.dumps(value))
    return f"{field} = {evil[:30]}", None


def _template(rng: random.Random, path: Path, names: list[Any]) -> _Change:
    places = [file for file in _files(path, "*.jinja")] or [path / "chat_template.jinja"]
    text = rng.choice(_TEMPLATES).replace("TOUCH", next((str(n) for n in names if str(n).startswith("touch ")), "true"))
    rng.choice(places).write_text(text)
    return f"template {text[:40]}", None


def _gone(rng: random.Random, path: Path, names: list[Any]) -> _Change:
    file = rng.choice(_files(path))
    file.unlink()
    if rng.random() < 0.3:
        file.mkdir()
    return f"gone {file.name}", None


_CHANGES: tuple[Callable[[random.Random, Path, list[Any]], _Change], ...] = (
    _bytes, _payload, _structure, _structure, _number, _code, _pickle, _outside, _pattern, _template, _gone,
)  # fmt: skip
