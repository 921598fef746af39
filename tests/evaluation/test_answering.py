"""Answering everything at once, sharing what can be shared, is answering one question after the other."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from liteframe.data.sampling.index_rules import uniform_midpoints
from liteframe.data.transforms import normalize
from liteframe.errors import DataError
from liteframe.evaluation.answering import Cell, answer_all, option_ids
from liteframe.models.backbone import WAP, Pool
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.teachers import InternVLTeacher
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.model import LiteFrameBackbone, VideoLLM
from liteframe.tiny import synthetic
from tiny_world import encoder_folder, host_folder, manifest

TOTAL = 16
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def models() -> dict[Cell, VideoLLM]:
    host, processor = load_base_vlm(str(host_folder()), "sdpa")
    teacher = VideoLLM(host, processor).eval()
    wap = VideoLLM(host, processor, teacher.backbone, WAP((4, 2, 2), "cosine", 20.0)).eval()
    pooled = VideoLLM(host, processor, teacher.backbone, Pool("max")).eval()
    student = LiteFrameBackbone(LiteFrameEncoder.from_pretrained(encoder_folder()))
    lite = VideoLLM(host, processor, student, frames_per_group=4).eval()
    return {
        ("teacher", 3): teacher,
        ("teacher", 8): teacher,
        ("wap", 6): wap,
        ("wap", TOTAL): wap,
        ("max", 8): pooled,
        ("student", 6): lite,
        ("student", TOTAL): lite,
    }


@pytest.fixture(scope="module")
def batch() -> dict[str, Any]:
    rows = [json.loads(line) for line in manifest("test").read_text().splitlines()]
    places = uniform_midpoints(synthetic.FRAMES, TOTAL)
    pixels = np.stack([synthetic.render(synthetic.Scene.from_dict(row["scene"]))[places] for row in rows])
    frames = normalize(torch.from_numpy(pixels).permute(0, 1, 4, 2, 3))
    return {"frames_BTCHW": frames, "valid_frames_B": torch.full((len(rows),), TOTAL), "rows": rows}


@torch.no_grad()
def naive(model: VideoLLM, count: int, batch: dict[str, Any]) -> list[tuple[str, str, int, bool]]:
    """(video, type, number, right): the picked frames alone are encoded, and each question has a prefill of its own."""
    out = []
    for video, row in zip(batch["frames_BTCHW"], batch["rows"], strict=True):
        picks = [int(i) for i in uniform_midpoints(TOTAL, count)]
        while len(picks) % model.frames_per_group:
            picks.append(picks[-1])
        visual = model.project(model.encode(video[None, picks]))
        for number, question in enumerate(row["questions"]):
            before, after = model.prompts.question_ids(question["question"], visual.shape[1], visual.shape[2])
            logits = model.prefill(visual, before + after)[0]
            tokenizer = model.prompts.tokenizer
            scores = {float(logits[tokenizer(option).input_ids[0]]): option for option in question["options"]}
            right = scores[max(scores)] == question["answer"]
            out.append((row["id"], question["type"], number, right))
    return out


@pytest.mark.filterwarnings("ignore:.*autocast.*")
def test_it_equals_one_question_after_the_other(models: dict[Cell, VideoLLM], batch: dict[str, Any]) -> None:
    halves = [{name: value[part] for name, value in batch.items()} for part in (slice(0, 2), slice(2, 3))]
    # Padding beyond the valid frames, as the data module makes it, is not looked at.
    for half in halves:
        garbage = torch.full_like(half["frames_BTCHW"][:, :4], 9.0)
        half["frames_BTCHW"] = torch.cat([half["frames_BTCHW"], garbage], dim=1)
    scores = answer_all(models, halves, torch.float32, CPU)
    assert set(scores) == set(models)
    answers = []
    for cell, model in models.items():
        expected = naive(model, cell[1], batch)
        answers.append([right for *_, right in expected])
        found = scores[cell].compute()
        assert found["questions"] == 12 and found["videos"] == 3
        assert found["accuracy"] == pytest.approx(np.mean(answers[-1])), cell
        for kind in synthetic.TEST_TYPES:
            of_kind = [right for _, name, _, right in expected if name == kind]
            assert found["per_type"][kind] == pytest.approx(np.mean(of_kind)), (cell, kind)
        table = torch.cat(scores[cell].answers)[:, 0].tolist()
        assert table == answers[-1], cell
    assert len({tuple(right) for right in answers}) > 1, "methods differ in what they answer"


@pytest.mark.filterwarnings("ignore:.*autocast.*")
def test_a_frame_wise_backbone_sees_each_frame_once(
    models: dict[Cell, VideoLLM], batch: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    forward = InternVLTeacher.forward

    def counted(self: InternVLTeacher, frames_BTCHW: torch.Tensor) -> Any:
        seen.append(frames_BTCHW.shape[0] * frames_BTCHW.shape[1])
        return forward(self, frames_BTCHW)

    monkeypatch.setattr(InternVLTeacher, "forward", counted)
    answer_all(models, [batch], torch.float32, CPU)
    assert seen == [3 * TOTAL], "five cells of three methods share the teacher's features"
    teacher = models["teacher", 8].backbone
    places = uniform_midpoints(TOTAL, 5)
    whole, part = teacher(batch["frames_BTCHW"]), teacher(batch["frames_BTCHW"][:, places])
    torch.testing.assert_close(whole.tokens_BTHWC[:, places], part.tokens_BTHWC, rtol=1e-4, atol=1e-5)


def test_options_that_begin_alike_are_refused(models: dict[Cell, VideoLLM]) -> None:
    model = models["teacher", 8]
    vocabulary = model.prompts.tokenizer.get_vocab()
    assert option_ids(model, ["red", "left"]) == [vocabulary["red"], vocabulary["left"]]
    with pytest.raises(DataError, match="do not differ in their first token"):
        option_ids(model, ["color of", "color red"])
    with pytest.raises(DataError, match="the option '' has no token"):
        option_ids(model, ["red", ""])
    with pytest.raises(DataError, match="'zebra' begins with a word that the model does not know; it knows ball, blue"):
        option_ids(model, ["red", "zebra"])


def test_batches_that_cannot_be_answered_are_refused(models: dict[Cell, VideoLLM], batch: dict[str, Any]) -> None:
    cells = {("teacher", 3): models["teacher", 3]}
    with pytest.raises(DataError, match=r"number of frames; set batch_size to 1"):
        answer_all(cells, [{**batch, "valid_frames_B": torch.tensor([16, 16, 12])}], torch.bfloat16, CPU)
    rows = [dict(row) for row in batch["rows"]]
    rows[1]["questions"] = rows[1]["questions"][:2]
    with pytest.raises(DataError, match=r"number of questions; set batch_size to 1"):
        answer_all(cells, [{**batch, "rows": rows}], torch.bfloat16, CPU)
    del rows[1]["questions"]
    with pytest.raises(DataError, match=r"test-00001.*no questions"):
        answer_all(cells, [{**batch, "rows": rows}], torch.bfloat16, CPU)
