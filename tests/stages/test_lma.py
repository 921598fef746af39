"""LMA: loss on answer tokens alone, and only what the settings name is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from safetensors.torch import load_file
from torch.nn import functional
from transformers import InternVLForConditionalGeneration

from liteframe.data.sources.conversations import turns_of
from liteframe.data.sources.manifest import read_manifest
from liteframe.errors import ConfigError, ManifestError
from liteframe.models.folders.training_record import TrainingRecord
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.video_llm.adapted import load_adapted
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.model import VideoLLM
from liteframe.stages.lma import LMAStage, LoraSettings
from liteframe.stages.stage import OptimizerSettings
from liteframe.tiny.models import build_tiny_base_vlm
from tiny_world import encoder_folder, host_folder, make_trainer, manifest, video_data


class Gradients(Callback):
    """Which parameters got a gradient in the last step, and the batch and loss of the first."""

    def __init__(self) -> None:
        self.named: dict[str, bool] = {}
        self.batch: dict[str, Any] = {}
        self.loss = 0.0

    def on_train_batch_start(self, trainer: Any, pl_module: LMAStage, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self.batch = batch
            self.loss, self.count = slow_loss(pl_module, batch)

    def on_train_batch_end(self, trainer: Any, pl_module: LMAStage, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self.logged = {name: float(value) for name, value in trainer.callback_metrics.items()}

    def on_after_backward(self, trainer: Any, pl_module: LMAStage) -> None:
        self.named = {n: bool(p.grad.any()) for n, p in pl_module.named_parameters() if p.grad is not None}


def slow_loss(module: LMAStage, batch: dict[str, Any]) -> tuple[float, int]:
    """Cross-entropy a token over a batch: one video at a time, one full prefill for each answer token."""
    model = module.model
    assert isinstance(model, VideoLLM)
    total, count = 0.0, 0
    with torch.no_grad():
        for row, sample_id, frames, valid in zip(
            batch["rows"], batch["sample_ids"], batch["frames_BTCHW"], batch["valid_frames_B"], strict=True
        ):
            visual = model.project(model.encode(frames[None, : int(valid)]))
            turns = turns_of(row, module.step_rng(sample_id), module.questions_per_video)
            ids, labels = model.prompts.conversation(turns, *visual.shape[1:3])
            for place in (i for i, label in enumerate(labels) if label >= 0):
                logits = model.prefill(visual, ids[:place])
                total += float(functional.cross_entropy(logits, torch.tensor(ids[place : place + 1])))
                count += 1
    return total / count, count


def stage(**settings: Any) -> LMAStage:
    defaults: dict[str, Any] = {
        "host": str(host_folder()),
        "encoder": str(encoder_folder()),
        "lora": LoraSettings(rank=4, alpha=8, targets=["q_proj", "down_proj"]),
        "attention": "eager",
        "optimizer": OptimizerSettings(lr=1e-2),
    }
    return LMAStage(**{**defaults, **settings})


def fit(folder: Path, module: LMAStage, steps: int = 1, **videos: Any) -> Gradients:
    found = Gradients()
    videos = {"train": str(manifest()), "batch_size": 3, **videos}
    make_trainer(folder, max_steps=steps, callbacks=[found]).fit(module, video_data(**videos))
    return found


@pytest.mark.parametrize("questions", [None, 2])
def test_the_loss_is_the_mean_over_the_answer_tokens(questions: int | None, tmp_path: Path) -> None:
    found = fit(tmp_path, stage(questions_per_video=questions))
    assert found.count == 3 * 2 * (questions or 5), "an answer and its end for each question"
    assert found.logged["train/loss"] == pytest.approx(found.loss, rel=1e-4)
    assert found.logged["rate/answer_tokens"] == found.count


def test_conversations_and_videos_of_unequal_lengths(tmp_path: Path) -> None:
    rows = read_manifest(manifest())[:3]
    talks = [
        [("<video> color of the star", "red"), ("color of the ball", "left")],
        [("color of the box", "color of the star green")],
        [("color of the ball", "blue")],
    ]
    lines = [
        {
            "path": row.path,
            "end": end,
            "conversations": [
                {"from": who, "value": text} for turn in talk for who, text in zip(("human", "gpt"), turn, strict=True)
            ],
        }
        for row, talk, end in zip(rows, talks, (None, 0.3, 1.0), strict=True)
    ]
    path = tmp_path / "talks.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = fit(tmp_path, stage(), train=str(path), frames=12)
    assert sorted(found.batch["valid_frames_B"].tolist()) == [5, 12, 12]
    assert found.count == 4 + 6 + 2
    assert found.logged["train/loss"] == pytest.approx(found.loss, rel=1e-4)
    (tmp_path / "silent.jsonl").write_text(json.dumps({"path": rows[0].path}) + "\n")
    with pytest.raises(ManifestError, match="no conversations, no questions"):
        fit(tmp_path, stage(), train=str(tmp_path / "silent.jsonl"), batch_size=1)


@pytest.mark.parametrize("llm", [True, False])
@pytest.mark.parametrize("encoder", [True, False])
@pytest.mark.parametrize("projector", [True, False])
def test_only_what_the_settings_name_gets_gradients(llm: bool, encoder: bool, projector: bool, tmp_path: Path) -> None:
    module = stage(train_llm=llm, train_encoder=encoder, train_projector=projector)
    if not (llm or encoder or projector):
        with pytest.raises(ConfigError, match="no trainable parameter; set at least one part"):
            fit(tmp_path, module)
        return
    # The second step, because LoRA's A has no gradient while B is zero.
    found = fit(tmp_path, module, 2)
    assert all(found.named.values()), [name for name, some in found.named.items() if not some]
    parts = {
        "encoder": {n for n in found.named if n.startswith("model.backbone.encoder.")},
        "projector": {n for n in found.named if n.startswith("model.projector.")},
        "lora": {n for n in found.named if ".lora_" in n},
    }
    assert set().union(*parts.values()) == set(found.named)
    assert len(parts["lora"]) == (2 * 2 * 3 if llm else 0), "A and B of two layers in each of three blocks"
    assert bool(parts["encoder"]) == encoder and bool(parts["projector"]) == projector
    names = {n for n, _ in module.named_parameters() if n.startswith("model.backbone.encoder.")}
    assert parts["encoder"] == (names if encoder else set())


def test_an_llm_without_adapters_is_the_hosts_own_after_the_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = stage(train_llm=False)
    fit(tmp_path, module, 2)
    assert "model.lora changes nothing" in capsys.readouterr().out
    assert module.model is not None
    exported = load_adapted(tmp_path / "export", "eager")
    assert not (tmp_path / "export" / "adapter").exists()
    host = load_base_vlm(str(host_folder()), "eager")[0].model.language_model.state_dict()
    llm = exported.language_model.state_dict()
    assert set(llm) == set(host) and all(torch.equal(llm[name], host[name]) for name in host)
    for name, tensor in exported.projector.state_dict().items():
        assert torch.equal(tensor, module.model.projector.state_dict()[name])


def test_the_host_itself_stays_as_it_was(tmp_path: Path) -> None:
    before = load_file(host_folder() / "model.safetensors")
    module = stage()
    fit(tmp_path, module, 3)
    assert module.model is not None
    base = {
        name.replace(".base_layer", "").removeprefix("base_model.model."): tensor
        for name, tensor in module.model.language_model.state_dict().items()
        if "lora_" not in name
    }
    of_llm = {
        n.split("language_model.", 1)[1].removeprefix("model."): t for n, t in before.items() if "language_model" in n
    }
    assert len(of_llm) > 20 and set(base) == set(of_llm)
    assert all(torch.equal(base[name], of_llm[name]) for name in base)
    exported = load_adapted(tmp_path / "export", "eager")
    for name, tensor in exported.projector.state_dict().items():
        assert not torch.equal(tensor, before[next(n for n in before if n.endswith(f"projector.{name}"))]), name
    encoder = exported.backbone.encoder.state_dict()  # type: ignore[union-attr]
    first = LiteFrameEncoder.from_pretrained(encoder_folder()).state_dict()
    assert set(encoder) == set(first) and all(not torch.equal(encoder[n], first[n]) for n in first)
    merged = exported.language_model.layers[0].self_attn.q_proj.weight
    assert not torch.equal(merged, of_llm["layers.0.self_attn.q_proj.weight"])
    assert torch.equal(
        exported.language_model.layers[0].self_attn.k_proj.weight, of_llm["layers.0.self_attn.k_proj.weight"]
    )


def test_a_head_of_its_own_is_not_trained(tmp_path: Path) -> None:
    """As in the 8B host, whose LLM does not share its head with the embeddings."""
    host, processor = build_tiny_base_vlm()
    config = type(host.config).from_dict({**host.config.to_dict(), "tie_word_embeddings": False})
    config.text_config.tie_word_embeddings = False
    InternVLForConditionalGeneration(config).save_pretrained(tmp_path / "host")
    processor.save_pretrained(tmp_path / "host")
    module = stage(host=str(tmp_path / "host"))
    module.configure_model()
    assert module.model is not None
    assert module.model.lm_head.weight is not module.model.language_model.get_input_embeddings().weight
    trained = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    assert all("lora_" in name or name.startswith(("model.backbone.", "model.projector.")) for name in trained)


def test_parts_have_learning_rates_of_their_own(tmp_path: Path) -> None:
    optimizer = OptimizerSettings(lr=1e-2, warmup_fraction=0.0)
    for own in ({}, {"llm_lr": 3e-4}):
        module = stage(encoder_lr=1e-4, projector_lr=2e-4, optimizer=optimizer, **own)
        fit(tmp_path, module, 1)
        rates = {}
        for group in module.optimizers().optimizer.param_groups:  # type: ignore[union-attr]
            rates |= {id(parameter): group["initial_lr"] for parameter in group["params"]}
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                llm = own.get("llm_lr", 1e-2)
                expected = 1e-4 if "backbone" in name else 2e-4 if "projector" in name else llm
                assert rates[id(parameter)] == expected, name
    # A shipped config's rates do not forbid to leave a part as it is.
    for part in ("llm", "encoder", "projector"):
        module = stage(**{f"train_{part}": False, "llm_lr": 1e-4, "encoder_lr": 2e-4, "projector_lr": 3e-4})
        module.configure_model()
        rates = {f"{name}_lr": getattr(module, f"{name}_lr") for name in ("llm", "encoder", "projector")}
        assert sorted(module.module_lrs().values()) == sorted(set(rates.values()) - {rates[f"{part}_lr"]})


@pytest.mark.parametrize(
    "teacher", ["SiglipTeacher", "QwenVLTeacher", "TimmTeacher", "VJEPA2Teacher", "VideoPrismTeacher"]
)
def test_an_encoder_of_another_teacher_is_refused_though_its_width_fits(tmp_path: Path, teacher: str) -> None:
    encoder = tmp_path / "encoder"
    LiteFrameEncoder.from_pretrained(encoder_folder()).save_pretrained(encoder)
    for name in ("InternVLTeacher", teacher):
        TrainingRecord("CTDStage", 5, "32-true", model={"teacher_class": name}).write(encoder)
        if name == "InternVLTeacher":
            stage(encoder=str(encoder)).check_sources()
    with pytest.raises(ConfigError, match=f"distilled from a {teacher}.*InternVL alone.*used by itself.*onnx"):
        fit(tmp_path, stage(encoder=str(encoder)))


def test_what_is_missing_or_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no encoder at 'nowhere'; run CTD first"):
        fit(tmp_path, stage(encoder="nowhere"))
    with pytest.raises(ConfigError, match="no model folder"):
        fit(tmp_path, stage(host=str(tmp_path / "nowhere")))
    config = LiteFrameConfig(
        **{**LiteFrameEncoder.from_pretrained(encoder_folder()).config.to_dict(), "output_size": 64}
    )
    LiteFrameEncoder(config).save_pretrained(tmp_path / "narrow")
    with pytest.raises(ConfigError, match="width 64, the base VLM .* takes 128; distil one .* used by itself"):
        fit(tmp_path, stage(encoder=str(tmp_path / "narrow")))
    with pytest.raises(ConfigError, match=r"model\.lora\.targets.*no_such_layer"):
        fit(tmp_path, stage(lora=LoraSettings(targets=["no_such_layer"])))
    for odd in (["v_porj"], ["q_proj", "v_porj"], ["q_proj", "v_porj", "V_proj"], ["q_proj", "_proj"]):
        with pytest.raises(ConfigError, match=rf"model\.lora\.targets.*{odd[-1]}") as error:
            fit(tmp_path, stage(lora=LoraSettings(targets=odd)))
        assert "lora_A" not in str(error.value)
