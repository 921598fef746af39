from __future__ import annotations

import importlib.util
import mmap
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from liteframe.bench import memory
from liteframe.bench.floor import distance_to_floor, flops_of, matrix_rate
from liteframe.bench.latency import MUST_AGREE, VoidRun, interleave, require_same_settings
from liteframe.bench.memory import StageMemory
from liteframe.bench.timers import RunRule

_SETTINGS = {"dtype": "bf16", "attention_kernel": "sdpa", "llm": "tiny", "prompt": "plain", "output_length": 1}


def test_methods_run_in_turns_with_equal_counts() -> None:
    log: list[str] = []

    def method(name: str) -> Any:
        def run(timer: Any) -> None:
            with timer.stage("encode"):
                log.append(name)

        return run

    rule = RunRule(warmup=1, min_runs=3, max_runs=3)
    results = interleave({"a": method("a"), "b": method("b")}, {"a": _SETTINGS, "b": _SETTINGS}, rule)
    assert "".join(log) == "ab" + "ababab" + "ab"  # warm-up, timed, memory
    for samples in results.values():
        assert len(samples.stages_ms["encode"]) == len(samples.run_ms) == 3
        assert samples.peak_mib["encode"] > 0 and samples.memory_kind
        assert samples.median_ms("encode") >= 0


@pytest.mark.parametrize("name", MUST_AGREE)
def test_a_run_whose_methods_differ_is_void_and_says_in_what(name: str) -> None:
    called: list[int] = []
    other = {**_SETTINGS, name: "something else"}
    with pytest.raises(VoidRun, match=name) as caught:
        interleave({"a": called.append, "b": called.append}, {"a": _SETTINGS, "b": other})
    assert not called
    assert caught.value.differences == {name: {"a": _SETTINGS[name], "b": "something else"}}


def test_an_undeclared_setting_is_a_difference_too() -> None:
    lacking = {key: value for key, value in _SETTINGS.items() if key != "prompt"}
    with pytest.raises(VoidRun) as caught:
        require_same_settings({"a": lacking, "b": lacking})
    assert list(caught.value.differences) == ["prompt"]
    require_same_settings({"a": _SETTINGS, "b": dict(_SETTINGS)})
    with pytest.raises(ValueError, match="different methods"):
        interleave({"a": print}, {"b": _SETTINGS})


def test_memory_peak_sees_a_large_buffer() -> None:
    peaks = StageMemory()
    with peaks.stage("small"):
        pass
    # Not from the heap, which may have as much to give again.
    with peaks.stage("large"), mmap.mmap(-1, 64 * 2**20) as pages:
        pages.write(b"1" * len(pages))
    if peaks.kind != "resident set":
        pytest.skip("this system cannot reset the peak")
    assert peaks.peaks_mib["large"] > peaks.peaks_mib["small"] + 40


def test_the_peak_of_windows_which_has_no_resource_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    spec = importlib.util.spec_from_file_location("memory_there", memory.__file__)
    assert spec is not None and spec.loader is not None
    there = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(there)
    nowhere = Path("/nowhere/at/all")
    monkeypatch.setattr(there, "_CLEAR", nowhere)
    monkeypatch.setattr(there, "_STATUS", nowhere)
    monkeypatch.setattr(there, "sys", SimpleNamespace(platform="win32"))
    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=3 * 2**20))
    monkeypatch.setattr(there.psutil, "Process", lambda: process)
    assert there.reset_peak() == "resident set since start"
    assert there.peak_mib() == 3


def test_flops_of_a_layer_a_convolution_and_attention() -> None:
    x, weight = torch.randn(3, 5), torch.randn(7, 5)
    assert flops_of(lambda: F.linear(x, weight)) == 2 * 3 * 5 * 7
    image, kernel = torch.randn(1, 3, 8, 8), torch.randn(6, 3, 2, 2)
    assert flops_of(lambda: F.conv2d(image, kernel, stride=2)) == 2 * 6 * 3 * 2 * 2 * 4 * 4
    q = torch.randn(2, 4, 10, 16)
    assert flops_of(lambda: F.scaled_dot_product_attention(q, q, q)) == 2 * (2 * 2 * 4 * 10 * 10 * 16)


def test_floor_is_the_greater_of_compute_and_memory() -> None:
    far = distance_to_floor(10.0, flops=2e9, gflops=1000.0, moved_bytes=1e6, bandwidth_gbs=10.0)
    assert far["compute_ms"] == pytest.approx(2.0) and far["memory_ms"] == pytest.approx(0.1)
    assert far["bound"] == "compute" and far["times_floor"] == pytest.approx(5.0)
    assert distance_to_floor(10.0, 1e6, 1000.0, 1e8, 10.0)["bound"] == "memory"
    with pytest.raises(ValueError, match="bandwidth"):
        distance_to_floor(10.0, 1e6, 1000.0, moved_bytes=1e8)
    assert matrix_rate(torch.float32, size=64) > 0
