"""Times that were not run: linear in frames, operations over the measured rate, and nothing beyond the context."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModel

from liteframe.bench.encoders import ENCODERS
from liteframe.bench.floor import flops_of
from liteframe.bench.latency_record import LatencyRow
from liteframe.bench.real_size.compose import composed_rows, groups_of, prefill_stage
from liteframe.bench.real_size.rows import measured
from liteframe.bench.real_size.shapes import shapes
from liteframe.bench.real_size.work import EncoderWork, LlmWork
from liteframe.models.video_llm.base_vlm_configs import base_vlm_config
from liteframe.planning.forward_pass import vision_tower_flops
from report.real_shapes import stage_marks


class PlainWork(LlmWork):
    """A prefill of n tokens is n * n + 100 n operations."""

    def __init__(self) -> None:
        self._linear, self._quadratic, self._head = 100.0, 1.0, 0.0


def prefill_row(tokens: int, ms: float) -> LatencyRow:
    return LatencyRow("prefill", "llm", None, {"prefill": measured([ms] * 3, 1.0)}, prompt_tokens=tokens)


def encoder_row(method: str, frames: int, ms: float, tokens: int) -> LatencyRow:
    stages = {"encode": measured([ms] * 3, 8.0), "project": measured([1.0] * 3, 2.0)}
    return LatencyRow("encoder", method, frames, stages, tokens_encoder=4 * tokens, tokens_llm=tokens)


def test_a_measured_prefill_stays_and_others_take_the_rate() -> None:
    work = PlainWork()
    rows = [prefill_row(100, 2.0), prefill_row(400, 8.0)]
    assert prefill_stage(100, rows, work) is rows[0].stages["prefill"]
    beyond = prefill_stage(1000, rows, work)
    assert beyond.computed and beyond.n == 0 and "400 tokens" in beyond.note
    assert beyond.ms == pytest.approx(8.0 * work.prefill(1000) / work.prefill(400))
    assert prefill_stage(10, rows, work).ms == pytest.approx(2.0 * work.prefill(10) / work.prefill(100))
    between = prefill_stage(200, rows, work)
    slow, quick = work.prefill(100) / 2.0, work.prefill(400) / 8.0
    assert between.ms == pytest.approx(work.prefill(200) / ((slow + quick) / 2)), "halfway in the logarithm"


def test_marks_are_those_of_how_a_time_was_found() -> None:
    work, two, four = PlainWork(), (100, 400), (100, 200, 300, 400)
    found = {
        (tokens, lengths): prefill_stage(tokens, [prefill_row(length, length / 50) for length in lengths], work)
        for tokens, lengths in ((10, two), (250, two), (1000, two), (1000, four))
    }
    marks = {case: stage_marks(stage) for case, stage in found.items()}
    assert marks == {(10, two): "†", (250, two): "†", (1000, two): "§", (1000, four): "§"}
    rows = [encoder_row("student", 4, 100.0, 64), prefill_row(64, 1.0)]
    (row,) = composed_rows(rows, {"student": ENCODERS["student"]}, (8,), PlainWork(), 16384)
    for name in ("encode", "project"):
        stage = row.stages[name]
        assert stage_marks(stage) == "‡"


def test_time_to_first_token_takes_in_what_was_measured_before_the_encoder() -> None:
    stages = {"encode": 40.0, "project": 1.0, "prefill": 9.0, "first_token": 0.5}
    model = {name: measured([ms] * 3) for name, ms in stages.items()}
    before = {"host_to_device": measured([3.0] * 3), "normalize": measured([2.0] * 3)}
    row = LatencyRow("pipeline", "student", 8, {**before, **model})
    assert (row.model_ms, row.ttft_ms) == (50.0, 55.5)
    assert LatencyRow("pipeline", "student", 8, model).ttft_ms == 50.5
    del model["first_token"]
    assert LatencyRow("pipeline", "student", 8, {**before, **model}).ttft_ms is None


def test_far_prefills_have_a_rate_for_layers_and_one_for_attention() -> None:
    work = PlainWork()

    def ms(tokens: int) -> float:
        """Attention runs at twice the rate of the layers."""
        return 100.0 * tokens / 50.0 + tokens**2 / 100.0

    rows = [prefill_row(tokens, ms(tokens)) for tokens in (16, 32, 64, 128)]
    far = prefill_stage(2048, rows, work)
    assert far.ms == pytest.approx(ms(2048), rel=1e-3) and far.computed
    assert "4 lengths up to 128" in far.note and "+0% off" in far.note.replace("-0%", "+0%")
    at_once = work.prefill(2048) / (work.prefill(128) / ms(128))
    assert far.ms < 0.95 * at_once, "one rate for all would be too slow"
    flat = [prefill_row(tokens, tokens / 10.0) for tokens in (64, 256, 1024)]
    assert prefill_stage(4096, flat, work).ms == pytest.approx(409.6, rel=1e-3), "no rate is below 0"


def test_a_prompt_that_ran_out_of_memory_is_computed() -> None:
    full = LatencyRow("pipeline", "teacher", 8, {}, tokens_llm=1, status="out of memory")
    rows = [encoder_row("teacher", 4, 100.0, 1024), prefill_row(64, 1.0), full]
    found = composed_rows(rows, {"teacher": ENCODERS["teacher"]}, (8,), PlainWork(), 16384)
    assert [row.frames for row in found] == [8] and found[0].computed


def test_encoders_grow_with_the_frames_from_the_longest_run_below() -> None:
    rows = [encoder_row("teacher", 4, 100.0, 1024), encoder_row("teacher", 8, 180.0, 2048), prefill_row(64, 1.0)]
    methods = {"teacher": ENCODERS["teacher"], "student": ENCODERS["student"]}
    found = {row.frames: row for row in composed_rows(rows, methods, (8, 16, 64, 128), PlainWork(), 16384)}
    assert {row.arm for row in found.values()} == {"teacher"}, "an encoder that was not run is not made up"
    assert sorted(found) == [8, 16, 64], "128 frames are more than the context holds"
    assert not found[8].stages["encode"].computed
    assert found[8].computed and found[8].stages["prefill"].computed
    assert found[16].stages["encode"].ms == pytest.approx(360.0)
    assert found[16].stages["encode"].flops == 16
    assert found[64].tokens_llm == 16384
    assert found[64].prompt_tokens == 16384 + 64 * 8 + 64
    assert sum(found[64].share.values()) == pytest.approx(1.0)


def test_whole_clips_are_composed_of_whole_clips() -> None:
    rows = [encoder_row("autogaze", 8, 100.0, 158), encoder_row("autogaze", 64, 640.0, 1112), prefill_row(64, 1.0)]
    found = composed_rows(rows, {"autogaze": ENCODERS["autogaze"]}, (8, 16, 128), PlainWork(), 16384)
    assert [row.stages["encode"].ms for row in found] == [100.0, 160.0, 1280.0], "8 frames cost more by the frame"
    assert [row.tokens_llm for row in found] == [158, 278, 2224]


def test_what_was_run_as_a_whole_is_not_composed_again() -> None:
    whole = LatencyRow("pipeline", "teacher", 8, {}, tokens_llm=1)
    rows = [encoder_row("teacher", 4, 100.0, 1024), prefill_row(64, 1.0), whole]
    assert [r.frames for r in composed_rows(rows, {"teacher": ENCODERS["teacher"]}, (8, 16), PlainWork(), 16384)] == [
        16
    ]


def test_frame_lines() -> None:
    assert [groups_of(ENCODERS[name], 9) for name in ("teacher", "teacher+wap", "student")] == [9, 3, 3]


@pytest.mark.parametrize("tokens", [64, 300, 4096])
def test_the_llms_operations_are_its_weights_and_pairs_of_tokens(tokens: int) -> None:
    text: Any = base_vlm_config("internvl3-1b").text_config
    with torch.device("meta"):
        llm: Any = AutoModel.from_config(text)
    weights = sum(weight.numel() for weight in llm.layers.parameters() if weight.dim() == 2)
    pairs = text.num_hidden_layers * text.hidden_size * tokens**2
    expected = 2 * tokens * weights + 4 * pairs + 2 * text.hidden_size * text.vocab_size
    assert LlmWork(shapes("real", "internvl3-1b")).prefill(tokens) == pytest.approx(expected, rel=1e-6)


def test_an_encoders_operations_are_those_that_are_planned_with() -> None:
    from liteframe.bench.real_size.subjects import Llm, build_subject

    tiny, cpu = shapes("tiny", ""), torch.device("cpu")
    llm = Llm.build(tiny, cpu, torch.float32)
    work = EncoderWork(build_subject("teacher", tiny, llm, cpu, torch.float32))
    assert work.encode(8) == pytest.approx(8 * vision_tower_flops(tiny.vision, (64, 64)))
    gazed = EncoderWork(build_subject("autogaze", tiny, llm, cpu, torch.float32))
    assert gazed.encode(32) == 2 * gazed.encode(16) == 32 * gazed.per_frame
    assert gazed.encode(40) == gazed.encode(32) + gazed.encode(8)
    assert gazed.encode(8) > 8 * gazed.per_frame / 2
    assert work.project(16) == pytest.approx(2 * 4 * (4 * 32 * 32 + 32 * 32)), "four tokens, after the shuffle"


def test_operations_of_an_encoder_whose_frames_see_each_other_are_counted_on_a_clip() -> None:
    from liteframe.bench.real_size.subjects import Llm, build_subject

    tiny, cpu = shapes("tiny", ""), torch.device("cpu")
    subject = build_subject("video-panda", tiny, Llm.build(tiny, cpu, torch.float32), cpu, torch.float32)
    clip = flops_of(lambda: subject.video_llm.backbone(subject.frames(4)))
    assert EncoderWork(subject).encode(8) == 2 * clip
    assert clip > 4 * flops_of(lambda: subject.video_llm.backbone(subject.frames(1))), "a single one has no neighbours"
