"""What is done to model folders: damage, absurd sizes, names of code, pickles, ways out, patterns and templates."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from fuzz.mutate import damage_file, mutate_tree, to_json
from liteframe.system.own_folder import LISTING

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
    own = dict.fromkeys(("AutoConfig", "AutoModel", "AutoProcessor", "AutoTokenizer"), "modeling_own.Touch")
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
    places = _files(path, "*.jinja") or [path / "chat_template.jinja"]
    text = rng.choice(_TEMPLATES).replace("TOUCH", next((str(n) for n in names if str(n).startswith("touch ")), "true"))
    rng.choice(places).write_text(text)
    return f"template {text[:40]}", None


def _gone(rng: random.Random, path: Path, names: list[Any]) -> _Change:
    file = rng.choice(_files(path))
    file.unlink()
    if rng.random() < 0.3:
        file.mkdir()
    return f"gone {file.name}", None


CHANGES: tuple[Callable[[random.Random, Path, list[Any]], _Change], ...] = (
    _bytes, _payload, _structure, _structure, _number, _code, _pickle, _outside, _pattern, _template, _gone,
)  # fmt: skip
