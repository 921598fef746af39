"""The dtype of a machine is the one that was measured faster, and is measured once: the next process reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
import torch

from liteframe.system import fast_dtype as module
from liteframe.system.fast_dtype import CpuRates, fast_dtype, measure_cpu_rates, remembered_rates

BFLOAT16_WINS, FLOAT32_WINS = CpuRates(429.0, 197.0), CpuRates(81.0, 150.0)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def asked(measures: CpuRates, threads: int = 2) -> tuple[CpuRates, bool]:
    """The rates where the machine now gives those, and whether it was measured."""
    with mock.patch.object(module, "measure_cpu_rates", return_value=measures) as measured:
        return remembered_rates(threads), measured.called


def written(home: Path) -> Path:
    (file,) = home.rglob("*.json")
    return file


@pytest.mark.parametrize(("rates", "dtype"), [(BFLOAT16_WINS, "bfloat16"), (FLOAT32_WINS, "float32")])
def test_the_faster_one_is_taken(rates: CpuRates, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cpu_rates", lambda threads: rates)
    assert fast_dtype("cpu") == fast_dtype(torch.device("cpu")) == dtype


def test_each_gpu_is_asked_for_what_its_hardware_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is an old one, the second has bfloat16; the old one is the current one."""
    current = [0]

    @contextmanager
    def made_current(device: torch.device) -> Iterator[None]:
        assert device.index is not None
        current.append(device.index)
        yield
        current.pop()

    def supported(including_emulation: bool = True) -> bool:
        return current[-1] == 1 or including_emulation  # as an old GPU says

    monkeypatch.setattr(torch.cuda, "device", made_current)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    monkeypatch.setattr(module, "cpu_rates", lambda threads: pytest.fail("nothing is measured for a GPU"))
    assert [fast_dtype(device) for device in ("cuda", "cuda:0", "cuda:1")] == ["float16", "float16", "bfloat16"]
    assert fast_dtype("mps") == "float32" and current == [0]


def test_a_machine_is_measured_once(home: Path) -> None:
    assert asked(BFLOAT16_WINS) == (BFLOAT16_WINS, True)
    assert asked(FLOAT32_WINS) == (BFLOAT16_WINS, False)
    assert asked(FLOAT32_WINS, threads=1) == (FLOAT32_WINS, True), "another number of threads is another machine"


@pytest.mark.parametrize("changed", ["cpu_name", "cpu_flags"])
def test_another_cpu_is_measured_anew(home: Path, changed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(BFLOAT16_WINS) == (BFLOAT16_WINS, True)
    monkeypatch.setattr(module, changed, lambda: ["another"])
    assert asked(FLOAT32_WINS) == (FLOAT32_WINS, True)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    assert asked(FLOAT32_WINS) == (BFLOAT16_WINS, False), "the first one is still known"


RATES = {"bfloat16": 429.0, "float32": 197.0}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\x00",
        b"[" * 100_000,
        b"[1, 2]",
        json.dumps({"machine": "kept", "gflops": {"bfloat16": 429.0}}).encode(),
        json.dumps({"machine": "kept", "gflops": {**RATES, "float16": 1.0}}).encode(),
        json.dumps({"machine": "kept", "gflops": {**RATES, "float32": "197"}}).encode(),
        json.dumps({"machine": "kept", "gflops": {**RATES, "float32": -1.0}}).encode(),
        json.dumps({"machine": "kept", "gflops": {**RATES, "float32": float("nan")}}).encode(),
        json.dumps({"machine": {"cpu": "of somebody else"}, "gflops": RATES}).encode(),
    ],
    ids=["empty", "binary", "deep", "a list", "one rate", "three", "a text", "negative", "NaN", "foreign"],
)
def test_what_was_not_written_here_is_measured_anew(home: Path, content: bytes) -> None:
    asked(BFLOAT16_WINS)
    file = written(home)
    machine = json.dumps(json.loads(file.read_text())["machine"]).encode()
    file.write_bytes(content.replace(b'"kept"', machine))
    assert asked(FLOAT32_WINS) == (FLOAT32_WINS, True)
    assert asked(BFLOAT16_WINS) == (FLOAT32_WINS, False), "and then it is whole again"


def test_where_nothing_can_be_kept_each_process_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "liteframe").write_text("a file where the folder would be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert asked(BFLOAT16_WINS) == (BFLOAT16_WINS, True)
    assert asked(FLOAT32_WINS) == (FLOAT32_WINS, True)
    assert [path.name for path in tmp_path.iterdir()] == ["liteframe"]


def test_measuring_is_blind_to_its_surroundings_and_leaves_no_trace() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    rates = measure_cpu_rates(budget_s=0.0)
    assert torch.equal(torch.rand(2), expected), "a run of a seed is the same whether it had to measure or not"
    assert rates.bfloat16 > 0 and rates.float32 > 0
    assert torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")


def test_the_arm_in_bfloat16_computes_in_bfloat16() -> None:
    """A fast path of torch through the same module would stay in float32 and both rates would be one."""
    seen = []
    linear = torch.nn.functional.linear

    def watched(*args: torch.Tensor) -> torch.Tensor:
        seen.append((result := linear(*args)).dtype)
        return result

    with mock.patch("torch.nn.functional.linear", watched):
        measure_cpu_rates(budget_s=0.0)
    assert seen.count(torch.bfloat16) == seen.count(torch.float32) > 0
