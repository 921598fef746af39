"""`liteframe plan` on the paper's configs: its numbers are the paper's, and it asks nobody for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liteframe.command import cli
from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.errors import ConfigError
from liteframe.models.folders.training_record import TrainingRecord
from liteframe.models.student.encoder import LiteFrameConfig
from liteframe.models.student.temporal import TEMPORAL_MIXERS
from liteframe.models.teachers import InternVL, Siglip
from liteframe.planning import lma_plan, stage_plans
from liteframe.planning.build import build
from liteframe.planning.command import plan_command
from liteframe.planning.lma_plan import LINE_TOKENS
from liteframe.planning.parts import vision_config
from liteframe.planning.stage_plans import plan_stage
from liteframe.stages.lma import LMAStage
from tiny_world import encoder_folder, host_folder, manifest

GPU8 = "trainer/gpu8.yaml"


@pytest.fixture(autouse=True)
def no_network_and_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("liteframe.models.folders.model_folder.file_exists", refuse)
    monkeypatch.setattr("liteframe.models.folders.model_folder.try_to_load_from_cache", refuse)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module", autouse=True)
def counted_once() -> Iterator[None]:
    """Plans with the same model count it once: the fake passes take seconds, and only what is made of them differs."""
    student = once(stage_plans.student_pass, lambda config, size: (config.to_json_string(), size))
    tower = once(stage_plans.vision_tower_flops, lambda vision, size: (vision.to_json_string(), size))
    llm = once(lma_plan.llm_pass, lambda llm, copies: (str(llm), llm.config.to_json_string(), *copies))
    with pytest.MonkeyPatch.context() as patch:
        for module in (stage_plans, lma_plan):
            patch.setattr(module, "student_pass", student)
        patch.setattr(stage_plans, "vision_tower_flops", tower)
        patch.setattr(lma_plan, "llm_pass", llm)
        yield


def once(count: Callable[..., Any], key: Callable[..., tuple[Any, ...]]) -> Callable[..., Any]:
    """`count`, which is called once for arguments of the same key."""
    known: dict[tuple[Any, ...], Any] = {}

    def counted(*args: Any) -> Any:
        if key(*args) not in known:
            known[key(*args)] = count(*args)
        return known[key(*args)]

    return counted


def planned(tmp_path: Path, *configs: str, **options: Any) -> dict[str, Any]:
    path = tmp_path / "plan.json"
    assert plan_command(list(configs), output=str(path), **options) == 0
    return dict(json.loads(path.read_text()))


def test_ctd(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned(tmp_path, "ctd.yaml", GPU8)
    assert plan["stage"]["clip_tokens"] == {
        "patches": 4096,
        "after the student": 256,
        "after the pixel shuffle": 64,
    }
    (batch,) = plan["stage"]["batches"]
    assert batch["frames"] == 16 and batch["tokens"]["after the pixel shuffle"] == 256
    assert batch["flops"]["teacher"] == pytest.approx(16 * 727e9, rel=0.01), "forward alone"
    assert batch["flops"]["student"] == pytest.approx(16 * 3 * 82e9, rel=0.02)
    assert 86e6 < plan["parameters"]["trained"] < 88e6
    assert plan["parameters"]["all"] - plan["parameters"]["trained"] == pytest.approx(304e6, rel=0.01)
    assert plan["machine"]["gpus"] == 8
    # Ten passes over a million videos, 150 TFLOP/s of each GPU.
    assert plan["time"]["gpu_hours"] == pytest.approx(10 * 1e6 * batch["flops"]["sum"] / 150e12 / 3600)
    assert plan["time"]["hours"] == pytest.approx(plan["time"]["gpu_hours"] / 8)
    frames = batch["frames"] * plan["time"]["videos"]
    assert plan["time"]["frames_per_s"] == pytest.approx(frames / plan["time"]["hours"] / 3600)
    shown = capsys.readouterr().out
    assert "data.train is not here: 1,000,000 videos are assumed" in shown
    for word in ("parameters", "tokens", "TFLOP a video", "GiB a GPU", "GPU-hours", "fits into 80 GiB"):
        assert word in shown
    assert max(len(line) for line in shown.splitlines()) <= 110


def test_ctd_from_a_store_has_no_teacher(tmp_path: Path) -> None:
    plan = planned(tmp_path, "ctd.yaml", set=["data.train=null", "data.store=runs/cache/store"])
    assert [part["name"] for part in plan["stage"]["parts"]] == ["student"]
    assert set(plan["stage"]["batches"][0]["flops"]) == {"student", "sum"}


def test_cache(tmp_path: Path) -> None:
    plan = planned(tmp_path, "cache.yaml", GPU8, videos=2_000_000)
    assert plan["stage"]["clip_tokens"]["after WAP"] == 256
    # Half a MiB a clip of 256 tokens of 1024 numbers in bfloat16, four clips a video.
    assert plan["store"]["gigabytes"] == pytest.approx(2e6 * 4 * 2**19 / 1e9)
    assert plan["parameters"]["trained"] == 0 and plan["memory"]["optimizer"] == 0
    with_frames = planned(tmp_path, "cache.yaml", videos=10, set=["model.store_frames=true"])
    assert with_frames["store"]["gigabytes"] == pytest.approx(10 * (4 * 2**19 + 16 * 3 * 448**2) / 1e9)


def test_lma(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned(tmp_path, "lma.yaml", GPU8, videos=1000)
    batches = {batch["frames"]: batch for batch in plan["stage"]["batches"]}
    assert set(batches) == {64, 128, 256, 512}
    assert batches[64]["tokens"]["after the pixel shuffle"] == 1024
    assert batches[64]["tokens"]["prompt of the LLM"] == 1024 + 16 * 8 + 256
    parts = {part["name"]: part for part in plan["stage"]["parts"]}
    assert parts["LLM"]["parameters"] == pytest.approx(7.61e9, rel=0.01) and parts["LLM"]["trained"] == 0
    assert parts["LLM"]["bytes_each"] == 2
    assert batches[512]["inputs"] == 512 * 3 * 448 * 448, "0.3 GB, as bytes"
    assert plan["memory"]["inputs"] in {batch["inputs"] for batch in batches.values()}
    assert plan["memory"]["total"] == pytest.approx(sum(v for k, v in plan["memory"].items() if k != "total"))
    # Rank 16 beside seven layers of 28 blocks: 16 x (in + out).
    widths = 2 * 3584 + 2 * (3584 + 512) + 2 * 3584 + 3 * (3584 + 18944)
    assert parts["adapters"]["parameters"] == parts["adapters"]["trained"] == 28 * 16 * widths
    assert batches[256]["flops"]["sum"] > 3.5 * batches[64]["flops"]["sum"]
    # Videos of each length, by how many a batch holds.
    mean = sum(b["batch_size"] * b["flops"]["sum"] for b in batches.values()) / 8
    assert plan["time"]["flops"] == pytest.approx(1000 * mean)
    assert "runs/ctd/export is not here yet" in capsys.readouterr().out


def test_a_large_host_fits_when_it_is_shared_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change = ["model.host=internvl3-78b"]
    alone = planned(tmp_path, "lma.yaml", GPU8, set=change)
    shown = capsys.readouterr().out
    assert "does not fit into 80 GiB" in shown and "trainer/fsdp.yaml" in shown
    shared = planned(tmp_path, "lma.yaml", "trainer/fsdp.yaml", set=change)
    assert alone["memory"]["weights"] > 2 * 72e9 > 5 * shared["memory"]["weights"]
    assert alone["memory"]["activations"] == shared["memory"]["activations"]


def test_nodes_and_rates(tmp_path: Path) -> None:
    one_pass = ["trainer.max_epochs=1"]
    plan = planned(tmp_path, "ctd.yaml", "trainer/slurm.yaml", videos=36_000, rate=10.0, set=one_pass)
    assert plan["machine"]["gpus"] == 32
    assert plan["time"]["hours"] == pytest.approx(1.0) and plan["time"]["gpu_hours"] == pytest.approx(32.0)
    steps = planned(tmp_path, "ctd.yaml", GPU8, videos=36_000, set=["trainer.max_steps=100"])
    assert steps["time"]["videos"] == 100 * 8 * 8, "steps end before the epoch does"


def test_models_and_data_that_are_here_are_counted(tmp_path: Path) -> None:
    """The tiny recipe's LMA, with its host, encoder and manifest in folders."""
    change = [f"model.host={host_folder()}", f"model.encoder={encoder_folder()}", f"data.train={manifest()}"]
    plan = planned(tmp_path, "tiny/lma.yaml", set=change)
    assert plan["stage"]["clip_tokens"] == {"patches": 256, "after the student": 16, "after the pixel shuffle": 4}
    parts = {part["name"]: part for part in plan["stage"]["parts"]}
    assert parts["LLM"]["bytes_each"] == 4
    from liteframe.models.video_llm.base_vlm_loading import load_base_vlm

    host, _ = load_base_vlm(str(host_folder()))
    own = sum(parameter.numel() for parameter in host.model.language_model.parameters())
    assert parts["LLM"]["parameters"] == own, "embedding and head are one"
    assert not any("not here" in note for note in plan["notes"])
    batch = plan["stage"]["batches"][0]
    frames = torch.zeros(batch["batch_size"], batch["frames"], 3, 112, 112, dtype=torch.uint8)
    assert batch["inputs"] == frames.nbytes, "as a run has them on its device"
    one = planned(tmp_path, "tiny/lma.yaml", set=[*change, "trainer.max_steps=-1", "trainer.max_epochs=2"])
    assert one["time"]["videos"] == 18


def test_checkpointing_trades_a_forward_pass_for_memory() -> None:
    stage, data, _ = build(["lma.yaml"])
    assert isinstance(stage, LMAStage)
    stage.checkpoint_llm = stage.checkpoint_encoder = False
    stage.encoder_chunk_clips = None
    plain = plan_stage(stage, data, 256).batches[-1]
    stage.checkpoint_llm = stage.checkpoint_encoder = True
    lean = plan_stage(stage, data, 256).batches[-1]
    assert lean.flops["LLM"] == pytest.approx(plain.flops["LLM"] * 1.5, rel=0.1)
    assert lean.flops["encoder"] == pytest.approx(plain.flops["encoder"] * 4 / 3, rel=0.01)
    assert lean.activations < 0.3 * plain.activations
    stage.encoder_chunk_clips = 4
    assert plan_stage(stage, data, 256).batches[-1].activations < 0.5 * lean.activations


def test_what_is_not_planned_with_is_named(tmp_path: Path) -> None:
    limits = ["trainer.limit_train_batches=1", "trainer.max_time=00:01:00:00"]
    notes = planned(tmp_path, "ctd.yaml", set=limits)["notes"]
    for name in ("limit_train_batches", "max_time"):
        assert f"trainer.{name} is not planned with" in notes
    assert not any("not planned with" in note for note in planned(tmp_path, "ctd.yaml")["notes"])
    assert not any("planned with" in note for note in planned(tmp_path, "ctd.yaml", set=[f"{limits[0]}.0"])["notes"])


def test_adapters_on_experts_are_named(tmp_path: Path) -> None:
    host = ["model.host=internvl3.5-30b-a3b"]
    plan = planned(tmp_path, "lma.yaml", set=host)
    assert any("each has adapters of its own" in note for note in plan["notes"])
    attention = planned(tmp_path, "lma.yaml", set=[*host, "model.lora.targets=[q_proj, k_proj, v_proj, o_proj]"])
    assert not any("each has adapters" in note for note in attention["notes"])
    assert attention["parameters"]["trained"] < plan["parameters"]["trained"] / 5


class TestErrors:
    def test_a_target_of_lora_that_no_layer_has(self) -> None:
        for host in ("internvl3.5-30b-a3b", "internvl3-1b"):
            with pytest.raises(ConfigError, match=r"model\.lora\.targets: .*named v_porj; it has .*k_proj.*v_proj"):
                plan_command(["lma.yaml"], [f"model.host={host}", "model.lora.targets+=v_porj"])

    def test_nothing_to_plan(self) -> None:
        with pytest.raises(ConfigError, match="give --config FILE"):
            plan_command()
        with pytest.raises(ConfigError, match="give KEY=VALUE"):
            build(["ctd.yaml"], ["data.batch_size"])
        with pytest.raises(ConfigError, match="--rate is 0"):
            plan_command(["ctd.yaml"], rate=0.0)

    def test_a_stage_of_another_kind(self) -> None:
        with pytest.raises(ConfigError, match="VisionPretrainStage cannot be planned"):
            plan_command(["tiny/pretrain_vision.yaml"])

    def test_widths_that_do_not_match(self) -> None:
        with pytest.raises(ConfigError, match=r"width of 1024, the image encoder's 3200; set model\.encoder\.output"):
            plan_command(["ctd.yaml"], set=["model.teacher=internvl3-38b"])

    def test_frames_that_do_not_fill_the_grid(self, capsys: pytest.CaptureFixture[str]) -> None:
        words = ["plan", "--config", "ctd.yaml", "--config", GPU8, "--set", "data.image_size=450"]
        assert cli.main(words) == 1
        assert "450 is not a multiple of 28 px" in capsys.readouterr().err


def test_the_command_merges_configs_given_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "--config", "ctd.yaml", "--config", GPU8, "--videos", "10"]) == 0
    assert "CTDStage of OpenGVLab/InternVL3-8B-hf on 8 GPUs" in capsys.readouterr().out


def test_a_teacher_by_class_path_is_planned_if_it_is_an_internvl() -> None:
    assert vision_config(InternVL(str(host_folder())))[0].to_dict() == vision_config(str(host_folder()))[0].to_dict()
    with pytest.raises(ConfigError, match=r"Siglip nowhere: only stages whose teacher is an InternVL can be planned"):
        vision_config(Siglip("nowhere"))


class Gated(nn.Module):
    """A mixer that no plan knows."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels)

    def forward(self, tokens_BTNC: Tensor) -> Tensor:
        return tokens_BTNC + F.gelu(self.linear(tokens_BTNC))


def test_a_new_mixer_is_planned_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TEMPORAL_MIXERS, "gated", lambda settings: Gated(settings.channels))
    plain, gated = (
        planned(tmp_path, "ctd.yaml", set=[f"model.encoder.temporal_mixer={name}"])["stage"]["batches"][0]
        for name in ("none", "gated")
    )
    # Blocks 1 to 4 see 4 frames of 1024 tokens, 5 to 8 see 2 of 256; the rest see one frame. Four clips a video.
    tokens = 4 * (4 * 4 * 1024 + 4 * 2 * 256)
    assert gated["flops"]["student"] - plain["flops"]["student"] == 3 * 2 * 768**2 * tokens
    more = gated["activations"] - plain["activations"]
    assert more == plain["batch_size"] * 2 * 2 * 768 * tokens, "what goes into the product and what comes out, bfloat16"


@pytest.mark.parametrize(("block", "of_clip", "of_video"), [([8, 2, 2], 64, 128), ([2, 2, 2], 128, 512)])
def test_other_compressions(block: list[int], of_clip: int, of_video: int, tmp_path: Path) -> None:
    """Of 16 frames; a clip has 8 frames where a token spans 8, else 4."""
    for config in ("ctd.yaml", "cache.yaml"):
        plan = planned(tmp_path, config, set=[f"model.block={block}"])
        assert plan["stage"]["clip_tokens"]["after the pixel shuffle"] == of_clip
        (batch,) = plan["stage"]["batches"]
        assert batch["tokens"]["patches"] == 16 * 1024 and batch["tokens"]["after the pixel shuffle"] == of_video
    dense = planned(tmp_path, "ctd.yaml", set=["model.target=dense"])["stage"]
    assert dense["clip_tokens"] == {"patches": 1024, "after the student": 1024, "after the pixel shuffle": 256}
    pooled = planned(tmp_path, "cache.yaml", set=["model.target=max", "data.frames=6"])["stage"]
    assert pooled["clip_tokens"]["after max"] == 256
    assert pooled["target"]["clips"] == 2 and pooled["batches"][0]["tokens"]["patches"] == 8 * 1024


def test_groups_that_only_fill_a_clip_up_are_not_in_the_prompt(tmp_path: Path) -> None:
    config = LiteFrameConfig(clip_frames=8)
    config.save_pretrained(tmp_path / "encoder")
    settings = [f"model.encoder={tmp_path / 'encoder'}", "data.shapes=[{frames: 12, batch_size: 1}]"]
    (batch,) = planned(tmp_path, "lma.yaml", text_tokens=100, set=settings)["stage"]["batches"]
    assert batch["tokens"]["patches"] == 16 * 1024, "two whole clips go in"
    assert batch["tokens"]["after the pixel shuffle"] == 3 * 64, "and of 12 frames three groups come out"
    assert batch["tokens"]["prompt of the LLM"] == 3 * (64 + LINE_TOKENS) + 100


def test_frames_follow_the_encoder_and_the_teacher(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    LiteFrameConfig(image_size=224).save_pretrained(tmp_path / "encoder")
    chosen = f"model.encoder={tmp_path / 'encoder'}"

    def patches(*settings: str, config: str = "lma.yaml") -> int:
        return int(planned(tmp_path, config, set=list(settings))["stage"]["clip_tokens"]["patches"])

    assert patches(chosen) == 4 * 16 * 16
    TrainingRecord("CTDStage", 1, "32-true", FrameSpec((112, 224))).write(tmp_path / "encoder")
    assert patches(chosen) == 4 * 8 * 16, "what it was trained on goes before its config"
    assert "was made for" not in capsys.readouterr().err
    assert patches(chosen, "data.image_size=448") == 4 * 32 * 32
    assert "data.image_size is 448 x 448, but" in capsys.readouterr().err
    teacher = f"model.teacher={host_folder()}"
    assert patches(teacher, "model.encoder={output_size: 128, image_size: 112}", config="ctd.yaml") == 4 * 8 * 8
    assert patches(teacher, config="cache.yaml") == 4 * 8 * 8
