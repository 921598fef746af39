"""Validation gives the same figures on any number of ranks, whichever of them run out of videos first."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor

from liteframe.data.sources.conversations import turns_of
from liteframe.data.sources.manifest import read_manifest
from liteframe.data.store.feature_store import FeatureStore
from liteframe.errors import ManifestError
from liteframe.models.video_llm.model import VideoLLM
from liteframe.stages.cache import CacheStage
from liteframe.stages.ctd import CTDStage
from liteframe.stages.evaluate import EvaluateStage
from liteframe.stages.lma import LMAStage, LoraSettings
from liteframe.stages.stage import OptimizerSettings, Stage
from liteframe.tiny.pretrain import HostPretrainStage, TimmPretrainStage
from ranks import run_ranks
from tiny_world import (
    ENCODER,
    WAP_SETTINGS,
    encoder_folder,
    host_folder,
    make_trainer,
    manifest,
    video_data,
)

OPTIMIZER = OptimizerSettings(lr=0.0, warmup_fraction=0.0)
ANSWERS = ("red", "color of the first triangle green", "left left left", "blue", "up")
ENDS = (None, 0.3, 1.0, 0.6, None)


@pytest.fixture(scope="module", autouse=True)
def made_before_the_ranks() -> None:
    """Of what is not here yet, each of them would make its own."""
    manifest(), host_folder(), encoder_folder()


def make_stage(name: str, **settings: Any) -> Stage:
    if name == "ctd":
        return CTDStage(ENCODER, str(host_folder()), **WAP_SETTINGS, picture_every=0, optimizer=OPTIMIZER, **settings)
    if name == "vision":
        return TimmPretrainStage(32, 2, 2, OPTIMIZER)
    if name == "pretrain":
        return HostPretrainStage(str(host_folder()), pooled_too=True, attention="eager", optimizer=OPTIMIZER)
    lora = LoraSettings(rank=4, alpha=8, targets=["q_proj"])
    return LMAStage(str(host_folder()), str(encoder_folder()), lora, attention="eager", optimizer=OPTIMIZER, **settings)


def videos(folder: Path, count: int, broken: tuple[int, ...] = (), name: str = "val") -> str:
    """So many videos of unequal lengths, with answers of unequal lengths; some are no videos at all."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, row in enumerate(read_manifest(manifest())[:count]):
        line = {"path": row.path, "end": ENDS[number], "scene": row.extra["scene"], "id": str(number)}
        questions = [{"question": "color of the star", "answer": answer} for answer in ANSWERS[number:] + ANSWERS[:1]]
        lines.append({**line, "questions": questions})
        if number in broken:
            lines[-1]["path"] = str(folder / f"{number}.mp4")
            Path(lines[-1]["path"]).write_bytes(b"\0" * 99)
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def validate(rank: int, folder: Path, name: str, val: str, ranks: int, sharded: bool = False, most: int | None = None):  # type: ignore[no-untyped-def]
    strategy: dict[str, Any] = {"strategy": "ddp", "devices": ranks} if ranks > 1 else {}
    if sharded and ranks > 1:
        strategy["strategy"] = ModelParallelStrategy(ranks, 1, save_distributed_checkpoint=False)
    trainer = make_trainer(folder, max_steps=2, num_sanity_val_steps=1, val_check_interval=1, **strategy)
    data = video_data(
        train=videos(folder / f"train{rank}", 4, name="train"),
        val=val,
        batch_size=1,
        on_error="skip",
        max_skip_fraction=0.9,
    )
    settings = {} if name != "lma" else {"questions_per_video": most}
    trainer.fit(make_stage(name, **settings), data)
    found = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("val/")}
    (folder / f"{rank}.json").write_text(json.dumps(found))
    os._exit(0)


CASES = {
    "three videos": (3, ()),
    "a rank without any": (1, ()),
    "a rank with skips only": (2, (1,)),
    "skips at the end": (5, (2, 4)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ["ctd", "lma", "vision"])
def test_two_ranks_validate_as_one_does(name: str, case: str, tmp_path: Path) -> None:
    compare(tmp_path, name, videos(tmp_path, *CASES[case]))


@pytest.mark.parametrize("name", ["pretrain", "lma by two questions", "lma sharded"])
def test_other_ways_to_validate(name: str, tmp_path: Path) -> None:
    sharded, most = name == "lma sharded", None if name == "pretrain" else 2
    found = compare(tmp_path, name.split()[0], videos(tmp_path, 5, (4,)), sharded, most)
    assert ("val/pooled_loss" in found) == (name == "pretrain")
    if name == "pretrain":  # what is minimised
        assert found["val/loss"] == pytest.approx((found["val/unpooled_loss"] + found["val/pooled_loss"]) / 2)


def compare(folder: Path, name: str, val: str, sharded: bool = False, most: int | None = None) -> dict[str, float]:
    for ranks in (1, 2):
        (folder / str(ranks)).mkdir()
        assert run_ranks(validate, ranks, folder / str(ranks), name, val, ranks, sharded, most) == [0] * ranks
    one, first, second = (json.loads((folder / place).read_text()) for place in ("1/0.json", "2/0.json", "2/1.json"))
    assert one["val/loss"] > 0
    assert first == second == pytest.approx(one, rel=1e-5)
    return dict(one)


def evaluate_and_cache(rank: int, folder: Path, rows: str) -> None:
    trainer = make_trainer(folder, devices=2, strategy="ddp")
    trainer.test(EvaluateStage(str(host_folder()), "words", "eager"), video_data(test=rows), verbose=False)
    cache = CacheStage(str(host_folder()), str(folder / "store"), **WAP_SETTINGS, dtype="float32")
    trainer.predict(cache, video_data(predict=rows), return_predictions=False)
    os._exit(0)


def test_a_rank_without_any_video_takes_part_in_evaluation_and_caching(tmp_path: Path) -> None:
    rows = tmp_path / "one.jsonl"
    row = json.loads(manifest("test").read_text().splitlines()[0])
    rows.write_text(json.dumps({**row, "path": str(manifest("test").parent / row["path"])}) + "\n")
    assert run_ranks(evaluate_and_cache, 2, tmp_path, str(rows)) == [0, 0]
    assert json.loads((tmp_path / "evaluation.json").read_text())["videos"] == 1
    assert len(FeatureStore.open(tmp_path / "store").sample_ids()) == 1


def slow_figures(model: VideoLLM, data: Any, most: int | None) -> tuple[float, float]:
    """Loss and accuracy over all answer tokens: one video at a time, one full prefill for each answer token."""
    total, right, count = 0.0, 0, 0
    for batch in data.loader("val", batch_size=1):
        frames = batch["frames_BTCHW"][:, : int(batch["valid_frames_B"][0])]
        visual: Tensor = model.project(model.encode(frames))
        turns = turns_of(batch["rows"][0])
        for first in range(0, len(turns), most or len(turns)):
            asked = turns[first : first + (most or len(turns))]
            ids, labels = model.prompts.conversation(asked, *visual.shape[1:3])
            for place in (i for i, label in enumerate(labels) if label >= 0):
                (logits,) = model.prefill(visual, ids[:place])
                total -= float(logits.log_softmax(-1)[ids[place]])
                right += int(logits.argmax()) == ids[place]
                count += 1
    return total / count, right / count


@pytest.mark.parametrize("most", [None, 2])
def test_lma_counts_every_answer_token(most: int | None, tmp_path: Path) -> None:
    module = make_stage("lma", questions_per_video=most)
    data = video_data(val=videos(tmp_path, 4), batch_size=3)
    (found,) = make_trainer(tmp_path).validate(module, data, verbose=False)
    model = module.model
    assert isinstance(model, VideoLLM)
    with torch.no_grad():
        loss, accuracy = slow_figures(model, video_data(val=videos(tmp_path, 4)), most)
    assert found["val/loss"] == pytest.approx(loss, rel=1e-4)
    assert found["val/answer_accuracy"] == pytest.approx(accuracy)


def test_ctd_counts_every_element(tmp_path: Path) -> None:
    """Whatever the batches, and whatever `clip_sigma` would leave out of them."""
    val = videos(tmp_path, 4)
    found = []
    for batch in (1, 4):
        module = make_stage("ctd", standardise=False)
        found += make_trainer(tmp_path).validate(module, video_data(val=val, batch_size=batch), verbose=False)
    assert found[0] == pytest.approx(found[1], rel=1e-5) and {
        "val/loss",
        "val/mse",
        "val/explained_variance",
        "val/centred_cosine",
        "val/explained_variance_worst",
        "val/channels_not_learnt",
    } == set(found[0])
    squares, count = 0.0, 0
    assert isinstance(module, CTDStage)
    data = video_data(val=val)
    for batch in data.loader("val", batch_size=1):
        frames = batch["frames_BTCHW"]
        with torch.no_grad():
            residual = module.encoder(frames).last_hidden_state - module.targets({"frames_BTCHW": frames})
        squares, count = squares + float(residual.square().sum()), count + residual.numel()
    assert found[0]["val/loss"] == pytest.approx(squares / count, rel=1e-5)


@pytest.mark.parametrize("name", ["lma", "pretrain"])
def test_rows_of_the_validation_list_are_checked_as_those_for_training(name: str, tmp_path: Path) -> None:
    silent = tmp_path / "silent.jsonl"
    silent.write_text(json.dumps({"path": read_manifest(manifest())[0].path}) + "\n")
    module = make_stage(name)
    with pytest.raises(ManifestError, match=r"silent\.jsonl:1: .*no conversations, no questions"):
        make_trainer(tmp_path, max_steps=1).fit(module, video_data(train=str(manifest()), val=str(silent)))
    assert module.trainer.global_step == 0
