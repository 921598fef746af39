"""Ways to run an encoder give its tokens; what cannot run is named and costs the others nothing."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from liteframe.bench.latency_record import LatencyRow
from liteframe.bench.real_size import arms as module
from liteframe.bench.real_size import execution
from liteframe.bench.real_size.arms import Arm, ExecutedArms
from liteframe.bench.real_size.cells import Budget
from liteframe.bench.real_size.execution import EAGER, EXECUTIONS, FLOAT8, Execution, by_name, executed
from liteframe.bench.real_size.record import RunningRecord
from liteframe.bench.real_size.rows import measured
from liteframe.bench.real_size.shapes import shapes
from liteframe.bench.real_size.steps import Step
from liteframe.bench.real_size.subjects import Llm, Subject, build_subject
from liteframe.errors import ConfigError
from liteframe.models.acceleration import frozen_graphs
from liteframe.models.acceleration.compiled_layers import CompiledOrNot, compile_layers
from liteframe.models.acceleration.fallback import warn_of_fallback

CPU, TINY = torch.device("cpu"), shapes("tiny", "")


@pytest.fixture(autouse=True)
def compiled_quickly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(execution, "compile_layers", partial(compile_layers, backend="eager"))
    yield
    torch._dynamo.reset()


@pytest.fixture(scope="module")
def subjects() -> dict[str, Subject]:
    torch.manual_seed(0)
    llm, backbones = Llm.build(TINY, CPU, torch.float32), {}  # type: ignore[var-annotated]
    names = ("student", "teacher", "teacher+wap")
    return {name: build_subject(name, TINY, llm, CPU, torch.float32, backbones) for name in names}


@pytest.fixture
def made(subjects: dict[str, Subject], tmp_path: Path) -> ExecutedArms:
    record = RunningRecord({}, {}, {}, path=tmp_path / "record.json")
    llm = Llm.build(TINY, CPU, torch.float32)
    return ExecutedArms(TINY, llm, subjects, record, Budget(1000.0))


@torch.inference_mode()
@pytest.mark.parametrize("name", ["student", "teacher"])
def test_every_way_gives_the_same_tokens(name: str, subjects: dict[str, Subject]) -> None:
    backbone = subjects[name].video_llm.backbone
    wanted = backbone(frames_BTCHW := torch.randn(1, 9, 3, 64, 64))
    for how in EXECUTIONS[name]:
        other = executed(backbone, how)
        assert other is not backbone
        for _ in range(2):
            found = other(frames_BTCHW)
            torch.testing.assert_close(found.tokens_BTHWC, wanted.tokens_BTHWC, rtol=1e-4, atol=1e-5, msg=how.name)
        assert (found.cls_BTC is None) == (wanted.cls_BTC is None), how.name
    torch.testing.assert_close(backbone(frames_BTCHW).tokens_BTHWC, wanted.tokens_BTHWC, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["student", "teacher"])
def test_compiled_with_frozen_weights_it_is_timed_beside_eager(
    name: str, subjects: dict[str, Subject], made: ExecutedArms, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[Any] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        compiled.append(graph)
        return graph

    monkeypatch.setattr(frozen_graphs, "CompiledOrNot", partial(CompiledOrNot, backend=backend, fullgraph=True))
    arms = made.of(Step("frozen", (name,), 4))
    assert list(arms) == ["eager", "frozen"] and len(compiled) == 1
    (found, expected) = (arms[way].run.subject.video_llm.backbone for way in ("frozen", "eager"))  # type: ignore[attr-defined]
    pixels_BTCHW = subjects[name].pixels(8)
    with torch.inference_mode():
        tokens = [backbone(pixels_BTCHW).tokens_BTHWC for backbone in (found, expected)]
    torch.testing.assert_close(*tokens, rtol=1e-4, atol=1e-5)
    assert len(compiled) == 1 and made.fastest(name) == EAGER


def test_channels_last_is_a_layout_of_weights_and_frames(made: ExecutedArms, subjects: dict[str, Subject]) -> None:
    other = made._subject("student", Execution(channels_last=True))
    for subject, last in ((other, True), (subjects["student"], False)):
        weight = subject.video_llm.backbone.encoder.patch_embedding.projection.weight  # type: ignore[union-attr]
        assert weight.is_contiguous(memory_format=torch.channels_last) == last
        for frames in (subject.frames(4), subject.pixels(4)):
            assert frames.shape == (1, 4, 3, 64, 64)
            assert frames.flatten(0, 1).is_contiguous(memory_format=torch.channels_last) == last


def test_names_tell_ways_apart_and_find_them_again() -> None:
    ways = [*EXECUTIONS["student"], *EXECUTIONS["teacher"], *FLOAT8]
    assert all(by_name(how.name) == how for how in ways)
    assert EAGER.name == "eager" and Execution(channels_last=True, graphs=True).name == "channels-last + graphs"
    assert not any(how.fused or how.float8 for how in EXECUTIONS["teacher"])


def test_what_cannot_run_is_refused(subjects: dict[str, Subject]) -> None:
    with pytest.raises(ConfigError, match="float8 runs on GPUs alone"):
        executed(subjects["student"].video_llm.backbone, FLOAT8[0])
    with pytest.raises(ConfigError, match="fused: for the student alone"):
        executed(subjects["teacher"].video_llm.backbone, Execution(fused=True))


def test_ways_that_fail_or_fall_back_are_named_and_the_others_stay(
    made: ExecutedArms, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(backbone: Any, how: Execution) -> Any:
        if how.cudnn:
            raise RuntimeError("no such\nkernel")
        other = executed(backbone, how)
        if how.compiled:
            other.register_forward_hook(lambda *_: warn_of_fallback("torch.compile", OSError("no gcc")))
        return other

    monkeypatch.setattr(module, "executed", broken)
    found = made.of(Step("execution", ("student",), 4))
    assert list(found) == ["eager", "graphs", "channels-last", "fused", "fused + graphs"]
    assert {arm.method for arm in found.values()} == {"student"}
    reasons = {cell["arm"]: cell["reason"] for cell in made._record.dropped}
    assert reasons["student, cudnn"] == "no such kernel"
    assert reasons["student, compiled"] == "torch.compile is left out, as it failed: no gcc"
    assert len(found) + len(reasons) == len(EXECUTIONS["student"])
    assert made.of(Step("float8", ("student",), 4)) == {}
    assert "float8 runs on GPUs alone" in made._record.dropped[-1]["reason"]


def test_without_time_nothing_is_begun(made: ExecutedArms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "_budget", Budget(1.0))
    assert made.of(Step("fastest", ("student", "teacher"), 4)) == {}
    assert [(cell["arm"], cell["reason"]) for cell in made._record.dropped] == [
        ("student", "time budget"),
        ("teacher", "time budget"),
    ]


def row(method: str, how: str, frames: int, ms: float) -> LatencyRow:
    return LatencyRow("execution", method, frames, {"encode": measured([ms] * 3)}, execution=how)


def test_the_fastest_way_is_that_of_the_longest_video(made: ExecutedArms) -> None:
    assert made.fastest("student") == EAGER
    made._record.rows += [row("student", "graphs", 8, 1.0), row("student", "eager", 8, 2.0)]
    assert made.fastest("student").name == "graphs"
    made._record.rows += [row("student", "compiled", 64, 5.0), row("student", "graphs", 64, 6.0)]
    made._record.rows += [row("teacher", "compiled + graphs", 64, 3.0)]
    made._record.rows += [LatencyRow("execution", "student", 64, {}, status="out of memory", execution="fused")]
    assert made.fastest("student").name == "compiled"
    assert made.fastest("teacher+wap") == made.fastest("teacher") == Execution(compiled=True, graphs=True)


def test_whole_runs_take_the_fastest_way(made: ExecutedArms) -> None:
    made._record.rows += [row("student", "channels-last", 64, 1.0), row("student", "eager", 64, 2.0)]
    found = made.of(Step("fastest", ("student", "teacher"), 8))
    assert {label: (arm.method, arm.execution) for label, arm in found.items()} == {
        "student": ("student", "channels-last"),
        "teacher": ("teacher", "eager"),
    }
    streamed = made.of(Step("streamed", ("student",), 8))
    assert [(arm.execution, arm.note) for arm in streamed.values()] == [
        (name, "frames from the host's memory; encoder channels-last") for name in ("in order", "overlapped")
    ]
    assert all(isinstance(arm, Arm) for arm in streamed.values())
