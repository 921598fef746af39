"""The soak at its smallest: what is broken is skipped and listed, and its verdicts see what they are for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import soak
from liteframe.system.json_files import read_json
from ranks import run_ranks
from soaking.clips import Clips


def soak_alone(rank: int, folder: Path, options: list[str]) -> None:
    """The command, in a process that has no children but the soak's."""
    os.chdir(folder)
    sys.argv = [str(soak.__file__), *options]
    soak.main()


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="tells memory on Linux only")
def test_a_short_soak_skips_and_lists_each_broken_clip(tmp_path: Path) -> None:
    words = "--clips 24 --broken 0.3 --stalled 1 --workers 2 --batch_size 4 --decode_deadline_s 3 --every_s 0.2"
    record = tmp_path / "soak.json"
    options = [*words.split(), "--hangs_after_s", "110", "--output", str(record)]
    assert run_ranks(soak_alone, 1, tmp_path, options)[0] in (0, 1)
    found = read_json(record)
    assert found["verdicts"]["skips"]["good"] and found["verdicts"]["reads"]["good"]
    ways = {"stalled", "cut_in_its_pictures", "cut_in_its_header", "empty", "missing", "noise", "sound_only"}
    assert found["broken"].keys() == found["reasons"].keys() == ways and sum(found["broken"].values()) == 7
    assert any(sample["decoders"] and sample["workers"] == 2 for sample in found["samples"])


def seen(**changed: Any) -> dict[str, Any]:
    samples = [{"parent_mb": 300.0, "workers_mb": 900.0, "decoders_mb": 400.0 + 10 * (n % 5)} for n in range(40)]
    samples = [{**sample, "clips": 8 * n, "cpu_s": 0.1 * n} for n, sample in enumerate(samples)]
    good: dict[str, Any] = {
        "skips": [{"bad": 1}] * 2,
        "read": [{"a": 1, "b": 1}] * 2,
        "listed": Counter(bad=1),
        "batches_s": [5.0 + n for n in range(100)],
        "samples": samples,
    }
    return good | changed


@pytest.mark.parametrize(
    ("verdict", "changed"),
    [
        ("skips", {"skips": [{"bad": 1}, {}]}),
        ("skips", {"skips": [{"bad": 1, "a": 1}, {"bad": 1}]}),
        ("skips", {"listed": Counter(bad=2)}),
        ("skips", {"listed": Counter()}),
        ("reads", {"read": [{"a": 1, "b": 1}, {"a": 2}]}),
        ("throughput", {"batches_s": [float(n**1.2) for n in range(100)]}),
        ("memory of parent", {"samples": [{**s, "parent_mb": 300 + 2 * n} for n, s in enumerate(seen()["samples"])]}),
        ("memory of workers", {"samples": [{**s, "workers_mb": 9 + 9 * n} for n, s in enumerate(seen()["samples"])]}),
        ("memory of decoders", {"samples": seen()["samples"][:3]}),
    ],
)
def test_a_verdict_sees_what_it_is_for(verdict: str, changed: dict[str, Any]) -> None:
    clips = Clips(Path("clips.jsonl"), {"bad": "empty"})
    assert all(one["good"] for one in soak.verdicts(seen(), clips, {"a", "b", "bad"}).values())
    assert not soak.verdicts(seen(**changed), clips, {"a", "b", "bad"})[verdict]["good"]


def test_a_run_that_hangs_is_ended_and_says_where_it_stands(tmp_path: Path) -> None:
    code = "import time; from soaking.deadline import give_up_after; give_up_after(0.2); time.sleep(60)"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(soak.__file__).parent, capture_output=True, text=True)
    assert done.returncode == 124 and "no end after 0.2 s" in done.stderr and "in <module>" in done.stderr
