"""An adapter's settings are read by name and kind; nothing in them is imported, matched or computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig

from liteframe.errors import ConfigError
from liteframe.models.video_llm.adapted import load_adapter
from liteframe.models.video_llm.adapter_config import read_adapter_config
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from tiny_world import host_folder, lma_run_folder

ADAPTER = "adapter_config.json"


def written(folder: Path, **fields: Any) -> Path:
    LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], use_rslora=True).save_pretrained(str(folder))
    path = folder / ADAPTER
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return path


def test_what_peft_writes_is_read_as_it_was(tmp_path: Path) -> None:
    settings = read_adapter_config(written(tmp_path))
    assert (settings.r, settings.lora_alpha, settings.use_rslora) == (4, 8, True)
    assert settings.target_modules == {"q_proj", "down_proj"}
    assert read_adapter_config(written(tmp_path, target_modules="all-linear")).target_modules == "all-linear"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("peft_type", kind) for kind in ("PROMPT_TUNING", "XLORA", None, ["LORA"])),
        *(("target_modules", value) for value in ("(a+)+$", ["(a|a)*b"], [], None, 5, ["q_proj"] * 2000, [5])),
        *(("r", value) for value in (10**9, 0, -1, "4", 4.0, True, None)),
        *(("lora_alpha", value) for value in ("8", float("nan"), 0, 10**12)),
        *(("lora_dropout", value) for value in (-1, 2, "x")),
        *((name, {"(a+)+$": 4}) for name in ("rank_pattern", "alpha_pattern")),
        *((name, "(a+)+$") for name in ("layers_pattern", "exclude_modules")),
        *((name, ["lm_head"]) for name in ("modules_to_save", "target_parameters", "layers_to_transform")),
        ("megatron_config", {"x": 1}),
        ("layer_replication", [[0, 10**9]]),
        ("trainable_token_indices", [1]),
        ("arrow_config", {"x": 1}),
        ("use_dora", "yes"),
        ("bias", "all"),
        ("no_such_field", 1),
    ],
)
def test_what_is_no_plain_lora_is_named(name: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{ADAPTER}: .*{name}") as caught:
        read_adapter_config(written(tmp_path, **{name: value}))
    assert "\n" not in str(caught.value)


def test_what_loading_has_no_use_for_is_not_followed(tmp_path: Path) -> None:
    fields = {"auto_mapping": {"parent_library": "evil", "base_model_class": "x"}, "megatron_core": "evil"}
    settings = read_adapter_config(
        written(tmp_path, **fields, loftq_config={"loftq_bits": 4}, runtime_config={"x": 1}, revision="evil")
    )
    assert settings.auto_mapping is None and settings.megatron_core == "megatron.core" and not settings.loftq_config


@pytest.mark.parametrize("text", ["[]", "{", '{"a":' * 100_000])
def test_json_that_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / ADAPTER).write_text(text)
    with pytest.raises(ConfigError, match=ADAPTER):
        read_adapter_config(tmp_path / ADAPTER)


def test_a_rank_that_its_weights_do_not_have(tmp_path: Path) -> None:
    source = lma_run_folder() / "export" / "adapter"
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    fields = json.loads((tmp_path / ADAPTER).read_text())
    (tmp_path / ADAPTER).write_text(json.dumps({**fields, "r": 4096}))
    host, _ = load_base_vlm(str(host_folder()))
    with pytest.raises(ConfigError, match=r"r is 4096, the ranks of its weights are \[4\]"):
        load_adapter(host.model.language_model, tmp_path)
