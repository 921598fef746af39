"""Model folders that came from anywhere: a named error in place of code, pickles, other people's files and no end."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from host_world import family_folder
from liteframe.errors import ConfigError
from liteframe.hf.loading import load_video_llm
from liteframe.models.folders.model_folder import model_file, require_data_only
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.teachers import VJEPA2, InternVLTeacher, QwenVL, Siglip, TimmViT, VideoPrism
from liteframe.models.video_llm.adapted import load_adapted
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.prompts import PromptBuilder
from liteframe.system.own_folder import list_files
from small_teachers import qwen_folder, siglip_folder, timm_folder, videoprism_folder, vjepa2_folder
from tiny_world import encoder_folder, host_folder, lma_run_folder


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.mark), "w")


@pytest.fixture
def host(tmp_path: Path) -> Path:
    return Path(shutil.copytree(family_folder("qwen3", "300M"), tmp_path / "host"))


@pytest.fixture
def adapted(tmp_path: Path) -> Path:
    """The export of an LMA run beside its host."""
    shutil.copytree(host_folder(), tmp_path / "own")
    export = Path(shutil.copytree(lma_run_folder() / "export", tmp_path / "lma"))
    (export / "liteframe-files.json").unlink()  # or each change is refused as one
    change(export / "liteframe.json", host="../own")
    return export


def change(path: Path, **fields: Any) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **fields}))


def refused(load: Callable[[], Any], *words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load()
    assert "\n" not in str(caught.value), caught.value
    for word in words:
        assert word in str(caught.value), caught.value


class TestNames:
    """Files that an index, a config or a link names."""

    @pytest.mark.parametrize(
        "shard", ["evil.bin", "evil.pt", "evil.ckpt", "../evil.safetensors", "ABS", "x/../../e", 7]
    )
    def test_a_weight_map_names_safetensors_in_the_folder(self, shard: Any, host: Path, tmp_path: Path) -> None:
        for name in ("evil.bin", "evil.pt", "evil.ckpt"):
            (host / name).write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
        save_file({"a": torch.zeros(1)}, tmp_path / "evil.safetensors")
        index = host / "model.safetensors.index.json"
        weight_map = json.loads(index.read_text())["weight_map"]
        shard = str(tmp_path / "evil.safetensors") if shard == "ABS" else shard
        for name in (next(iter(weight_map)), next(name for name in weight_map if "vision_tower" in name)):
            change(index, weight_map={**weight_map, name: shard})
            for load in (load_base_vlm, InternVLTeacher.from_pretrained, load_video_llm):
                refused(lambda load=load: load(str(host)), "index.json")
        assert not (tmp_path / "ran").exists()

    def test_links_do_not_leave_the_folder(self, host: Path, tmp_path: Path) -> None:
        for name in (
            "config.json",
            "tokenizer.json",
            "chat_template.jinja",
            sorted(host.glob("*.safetensors"))[0].name,
        ):
            folder = Path(shutil.copytree(host, tmp_path / f"linked-{name}"))
            (folder / name).rename(tmp_path / f"outside-{name}")
            (folder / name).symlink_to(tmp_path / f"outside-{name}")
            refused(lambda folder=folder: load_base_vlm(str(folder)), name, "is a link that leads out")

    @pytest.mark.parametrize("broken", [False, True])
    def test_the_hub_s_own_cache_is_read(self, broken: bool, host: Path, tmp_path: Path) -> None:
        repository = tmp_path / "hub" / "models--org--host"
        snapshot, blobs = repository / "snapshots" / "abc", repository / "blobs"
        snapshot.mkdir(parents=True)
        blobs.mkdir()
        for number, path in enumerate(sorted(host.iterdir())):
            blob = blobs / f"{number:x}"
            shutil.copy(path, blob)
            (snapshot / path.name).symlink_to(Path("..", "..", "blobs", blob.name))
        if not broken:
            assert load_base_vlm(str(snapshot))[0].config.model_type == "internvl"
            return
        other = tmp_path / "hub" / "models--org--other" / "blobs"
        other.mkdir(parents=True)
        shutil.move(blobs / "0", other / "0")
        name = sorted(path.name for path in host.iterdir())[0]
        (snapshot / name).unlink()
        (snapshot / name).symlink_to(other / "0")
        with pytest.raises(ConfigError, match="leads out"):
            model_file(snapshot, name)
        with pytest.raises(ConfigError, match="leads out"):
            model_file(snapshot, "../../blobs/1")

    def test_parts_of_an_adapted_folder_are_in_it(self, adapted: Path, tmp_path: Path) -> None:
        for name in ("encoder", "adapter", "projector.safetensors", "liteframe.json"):
            folder = Path(shutil.copytree(adapted, tmp_path / f"linked-{name}"))
            (folder / name).rename(tmp_path / f"outside-{name}")
            (folder / name).symlink_to(tmp_path / f"outside-{name}")
            refused(lambda folder=folder: load_adapted(folder), name, "leads out")

    @pytest.mark.parametrize(
        ("fields", "word"),
        [
            ({"host": "../nowhere"}, "nowhere"),
            ({"host": "../lma/encoder"}, "not a base VLM"),
            ({"host": 7}, "`host`"),
            ({"host": ""}, "`host`"),
            ({"host": "a\0b"}, "`host`"),
            ({"host": "/etc"}, "`host`"),
            ({"host": "../own", "host_is_folder": False}, "`host`"),
            ({"host": "/etc", "host_is_folder": False}, "`host`"),
            ({"host_is_folder": "yes"}, "`host_is_folder`"),
            ({"adapter": "../x"}, "`adapter`"),
            ({"image_size": [1e9, 1]}, "`image_size`"),
            ({"image_size": "112"}, "`image_size`"),
        ],
    )
    def test_the_card_of_an_adapted_folder(self, fields: dict[str, Any], word: str, adapted: Path) -> None:
        change(adapted / "liteframe.json", **fields)
        refused(lambda: load_adapted(adapted), word)


class TestNoPickleAndNoCode:
    def test_weights_in_pickles_are_not_read(self, host: Path, adapted: Path, tmp_path: Path) -> None:
        data = pickle.dumps(Payload(tmp_path / "ran"))
        encoder = Path(shutil.copytree(encoder_folder(), tmp_path / "encoder"))
        timm_folder(tmp_path / "timm")
        siglip_folder(tmp_path / "siglip")
        qwen_folder(tmp_path / "qwen")
        vjepa2_folder(tmp_path / "vjepa2")
        teachers: dict[str, Any] = {"timm": TimmViT, "siglip": Siglip, "qwen": QwenVL, "vjepa2": VJEPA2}
        if hasattr(transformers, "VideoPrismVisionModel"):
            videoprism_folder(tmp_path / "videoprism")
            teachers["videoprism"] = VideoPrism
        for folder in (host, encoder, *(tmp_path / kind for kind in teachers)):
            for path in (*folder.glob("*.safetensors"), *folder.glob("*.index.json")):
                path.unlink()
            for name in ("pytorch_model.bin", "model.pth", "training_args.bin", "pytorch_model.bin.index.json"):
                (folder / name).write_bytes(data)
        (adapted / "adapter" / "adapter_model.safetensors").unlink()
        (adapted / "adapter" / "adapter_model.bin").write_bytes(data)
        refused(lambda: load_base_vlm(str(host)), "safetensors")
        refused(lambda: LiteFrameEncoder.from_pretrained(encoder), "safetensors")
        refused(lambda: load_adapted(adapted), "adapter_model.safetensors")
        for kind, source in teachers.items():
            refused(lambda source=source, kind=kind: source(str(tmp_path / kind)).load(), "safetensors")
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        "name", ["tokenizer_config.json", "processor_config.json", "config.json", "preprocessor_config.json"]
    )
    def test_auto_map_runs_nothing(
        self, name: str, host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        code = f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\nclass Evil: pass\n"
        (host / "evil.py").write_text(code)
        kinds = (
            "AutoConfig",
            "AutoModel",
            "AutoProcessor",
            "AutoTokenizer",
            "AutoImageProcessor",
            "AutoVideoProcessor",
        )
        fields = dict.fromkeys(kinds, "evil.Evil")
        if not (host / name).exists():
            (host / name).write_text("{}")
        change(host / name, auto_map=fields)
        monkeypatch.setattr("builtins.input", lambda *args: pytest.fail("somebody was asked"))
        load_base_vlm(str(host))
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        "fields",
        [
            {"transformers_weights": "adapter_model.bin"},
            {"quantization_config": {"quant_method": "bitsandbytes"}},
            {"attn_implementation": "evil/kernel"},
            {"text_config": {"_attn_implementation": "evil/kernel:flash"}},
            {"experts_implementation": "evil/kernel"},
            {"text_config": {"auto_map": {"AutoModel": "evil.Evil"}}},
            {"dtype": "hub"},
        ],
    )
    def test_fields_that_lead_elsewhere(self, fields: dict[str, Any], host: Path) -> None:
        whole = json.loads((host / "config.json").read_text())
        nested = {name: {**whole.get(name, {}), **value} for name, value in fields.items() if name == "text_config"}
        change(host / "config.json", **{**fields, **nested})
        refused(lambda: load_base_vlm(str(host)), "config.json", next(iter(fields.get("text_config", fields))))

    def test_an_adapter_that_nobody_asked_for(self, host: Path) -> None:
        (host / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "megatron_core": "evil"}))
        refused(lambda: load_base_vlm(str(host)), "adapter_config.json")


SIZES: list[tuple[str, Any]] = [
    *(("num_hidden_layers", value) for value in (10**6, -1, 0, 1e12, "many", [], True, 10**4000)),
    *(("hidden_size", value) for value in (10**9, float("nan"), float("inf"), None)),
    *(("num_attention_heads", value) for value in (0, 10**9, 7)),
    *(("vocab_size", value) for value in (10**12, -5)),
    ("rms_norm_eps", float("nan")),
    ("hidden_act", {"a": 1}),
    ("hidden_act", "no such"),
    ("layer_types", "abc"),
    ("rope_parameters", 5),
    ("max_position_embeddings", 10**15),
    ("model_type", ["qwen3"]),
    ("model_type", "no such"),
    ("to_dict", 1),
    ("__class__", "x"),
]


class TestBoundedWork:
    @pytest.mark.parametrize(("name", "value"), SIZES, ids=[f"{name}-{index}" for index, (name, _) in enumerate(SIZES)])
    def test_sizes_that_no_model_has(self, name: str, value: Any, host: Path) -> None:
        fields = json.loads((host / "config.json").read_text())
        text = json.dumps({**fields, "text_config": {**fields["text_config"], name: "HERE"}})
        (host / "config.json").write_text(text.replace('"HERE"', _json(value)))
        refused(lambda: load_base_vlm(str(host)), str(host))

    @pytest.mark.parametrize(
        ("name", "value"),
        [("image_size", [10**7, 10**7]), ("image_size", 4096), ("patch_size", [0, 0]), ("num_hidden_layers", 200)],
    )
    def test_sizes_of_the_image_encoder(self, name: str, value: Any, host: Path) -> None:
        fields = json.loads((host / "config.json").read_text())
        change(host / "config.json", vision_config={**fields["vision_config"], name: value})
        for load in (load_base_vlm, InternVLTeacher.from_pretrained):
            refused(lambda load=load: load(str(host)), str(host))

    def test_a_config_that_is_larger_than_its_weights(self, host: Path) -> None:
        fields = json.loads((host / "config.json").read_text())
        large = {"hidden_size": 16_384, "intermediate_size": 65_536, "num_hidden_layers": 100, "layer_types": None}
        change(host / "config.json", text_config={**fields["text_config"], **large})
        refused(lambda: load_base_vlm(str(host)), "asks for", "the safetensors hold")

    @pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "model.safetensors.index.json"])
    @pytest.mark.parametrize("text", ['{"a":' * 100_000, "[]", "{", "\xff", "7"])
    def test_json_that_is_none(self, name: str, text: str, host: Path) -> None:
        (host / name).write_bytes(text.encode("latin-1"))
        refused(lambda: load_base_vlm(str(host)), name)

    @pytest.mark.parametrize(
        "fields",
        [
            *({"hidden_size": 10**9}, {"num_hidden_layers": 200, "hidden_size": 65_536}, {"mlp_ratio": "4"}),
            *({"downsample_after": "ab"}, {"downsample_strides": 5}, {"image_size": 10**7}, {"patch_size": 0}),
        ],
    )
    def test_an_encoder(self, fields: dict[str, Any], tmp_path: Path) -> None:
        folder = Path(shutil.copytree(encoder_folder(), tmp_path / "encoder"))
        change(folder / "config.json", **fields)
        refused(lambda: LiteFrameEncoder.from_pretrained(folder), str(folder))

    @pytest.mark.parametrize(
        "fields",
        [
            {"model_args": {"depth": 10**6}},
            {"model_args": {"embed_dim": 65_536, "depth": 100}},
            {"model_args": 5},
            {"architecture": ["x"]},
            {"pretrained_cfg": 5},
        ],
    )
    def test_a_timm_folder(self, fields: dict[str, Any], tmp_path: Path) -> None:
        timm_folder(tmp_path)
        change(tmp_path / "config.json", **fields)
        refused(lambda: TimmViT(str(tmp_path)).load(), str(tmp_path))

    @pytest.mark.parametrize("header", [b"\xff" * 8, (10**9).to_bytes(8, "little"), b"", b"\2\0\0\0\0\0\0\0{}"])
    def test_absurd_headers(self, header: bytes, host: Path, tmp_path: Path) -> None:
        encoder = Path(shutil.copytree(encoder_folder(), tmp_path / "encoder"))
        for path in (*encoder.glob("*.safetensors"), *host.glob("*.safetensors")):
            path.write_bytes(header)
        refused(lambda: load_base_vlm(str(host)), str(host))
        refused(lambda: LiteFrameEncoder.from_pretrained(encoder), str(encoder))


SPLIT = {"type": "Split", "behavior": "Isolated", "invert": False}
TEN = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}


class TestTokenizer:
    @pytest.mark.parametrize(
        ("part", "value"),
        [
            ("pre_tokenizer", {**SPLIT, "pattern": {"Regex": "(a+)+$"}}),
            ("pre_tokenizer", {"type": "Sequence", "pretokenizers": [{**SPLIT, "pattern": {"Regex": "(a|a)*b"}}]}),
            ("normalizer", {"type": "Sequence", "normalizers": [TEN] * 6}),
            ("normalizer", {**TEN, "content": "a" * 10_000}),
            ("decoder", {"type": "Sequence", "decoders": [TEN] * 6}),
        ],
    )
    def test_steps_without_an_end(self, part: str, value: Any, host: Path) -> None:
        change(host / "tokenizer.json", **{part: value})
        refused(lambda: load_base_vlm(str(host)), "tokenizer.json", part)

    @pytest.mark.parametrize("value", ["", 7, None, ["<video>"]])
    def test_tokens_that_are_none(self, value: Any, host: Path) -> None:
        fields = json.loads((host / "tokenizer_config.json").read_text())
        text = json.dumps({**fields, "video_token": "HERE"}).replace('"<video>"', '"HERE"')
        (host / "tokenizer_config.json").write_text(text.replace('"HERE"', json.dumps(value)))
        refused(lambda: PromptBuilder(load_base_vlm(str(host))[1]))

    def test_a_panic_over_a_text_is_named(self, host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The library bounds the search itself, and then leaves by an error of its own kind."""
        monkeypatch.setattr("liteframe.models.folders.model_folder.require_bounded_steps", lambda *args: None)
        change(host / "tokenizer.json", pre_tokenizer={**SPLIT, "pattern": {"Regex": "(a+)+$"}})
        builder = PromptBuilder(load_base_vlm(str(host))[1])
        with pytest.raises(ConfigError, match="tokenizer fails on a text"):
            builder.question_ids("a" * 200 + "!", 1, 4)


class TestIntegrity:
    @pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
    def test_weights_that_are_not_finite_are_named(self, value: float, adapted: Path, tmp_path: Path) -> None:
        timm_folder(tmp_path / "timm")
        loads: list[tuple[Path, Callable[[], Any]]] = [
            (tmp_path / "own" / "model.safetensors", lambda: load_adapted(adapted)),
            (tmp_path / "own" / "model.safetensors", lambda: InternVLTeacher.from_pretrained(str(tmp_path / "own"))),
            (adapted / "encoder" / "model.safetensors", lambda: load_adapted(adapted)),
            (adapted / "projector.safetensors", lambda: load_adapted(adapted)),
            (adapted / "adapter" / "adapter_model.safetensors", lambda: load_adapted(adapted)),
            (tmp_path / "timm" / "model.safetensors", lambda: TimmViT(str(tmp_path / "timm")).load()),
        ]
        for path, load in loads:
            tensors = load_file(path)
            name = sorted(name for name in tensors if "vision_tower" in name or "own" not in str(path))[-1]
            damaged = {**tensors, name: tensors[name].clone()}
            damaged[name].view(-1)[0] = value
            save_file(damaged, path, metadata={"format": "pt"})
            refused(load, "not finite", name.removeprefix("model."))
            save_file(tensors, path, metadata={"format": "pt"})

    def test_an_adapter_that_is_too_much_for_the_llm(self, adapted: Path) -> None:
        path = adapted / "adapter" / "adapter_model.safetensors"
        save_file({name: torch.full_like(tensor, 1e30) for name, tensor in load_file(path).items()}, path)
        refused(lambda: load_adapted(adapted), "adapter", "not finite")

    def test_a_changed_file_of_ours_is_named_before_it_is_read(self, adapted: Path, tmp_path: Path) -> None:
        encoder = Path(shutil.copytree(encoder_folder(), tmp_path / "encoder"))
        for folder in (encoder, adapted):
            list_files(folder)
        LiteFrameEncoder.from_pretrained(encoder)
        load_adapted(adapted)
        for path in (adapted / "projector.safetensors", adapted / "encoder" / "config.json"):
            data = path.read_bytes()
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
            refused(lambda: load_adapted(adapted), str(path), "changed since liteframe wrote it")
            path.write_bytes(data)
        path = encoder / "model.safetensors"
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        refused(lambda: LiteFrameEncoder.from_pretrained(encoder), str(path), "changed")

    def test_a_listing_that_is_no_longer_true_goes(self, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(encoder_folder(), tmp_path / "encoder"))
        list_files(folder)
        model = LiteFrameEncoder.from_pretrained(folder)
        with torch.no_grad():
            model.head.bias += 1
        model.save_pretrained(folder)
        assert torch.equal(LiteFrameEncoder.from_pretrained(folder).head.bias, model.head.bias)

    def test_good_folders_pass(self, host: Path) -> None:
        require_data_only(host)


def _json(value: Any) -> str:
    return "1" + "0" * 4000 if value == 10**4000 else json.dumps(value)
