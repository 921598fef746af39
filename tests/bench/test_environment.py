from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path

import pytest
import torch

from liteframe.bench import environment as module
from liteframe.bench.environment import environment, repository_state


def test_holds_what_a_record_needs_and_nothing_private(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.runtime, "malloc_is_tuned", False)  # whatever tests ran before in this process
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    monkeypatch.setenv("LD_PRELOAD", "/secret/place/libfast.so")
    fields = environment(dtype="bf16", attention_kernel="sdpa")
    text = json.dumps(fields)
    for name in ("device", "driver", "cuda", "threads", "python", "platform", "commit", "dirty"):
        assert name in fields
    assert fields["threads"] == torch.get_num_threads()
    assert fields["packages"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert (fields["dtype"], fields["attention_kernel"]) == ("bf16", "sdpa")
    assert fields["malloc"] == {"MALLOC_ARENA_MAX": "1", "preloaded": ["libfast.so"], "tuned": False}
    assert "/secret" not in text and str(Path.home()) not in text and os.getcwd() not in text
    assert f'"{platform.node()}"' not in text


def _run(folder: Path, *command: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *command], cwd=folder, check=True, capture_output=True)


def test_commit_and_dirty_of_a_checkout_but_not_of_a_foreign_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "environment.py"
    here.write_text("")
    monkeypatch.setattr(module, "__file__", str(here))
    assert repository_state() == {"commit": None, "dirty": None}
    _run(tmp_path, "init")
    (tmp_path / "other.txt").write_text("")
    _run(tmp_path, "add", "other.txt")
    _run(tmp_path, "commit", "-m", "one")
    assert repository_state()["commit"] is None  # an installed copy inside somebody's repository
    _run(tmp_path, "add", "environment.py")
    _run(tmp_path, "commit", "-m", "two")
    state = repository_state()
    assert len(state["commit"]) == 40 and state["dirty"] is False
    here.write_text("changed")
    assert repository_state()["dirty"] is True


def test_instructions_are_whole_words_and_none_where_no_file_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CPU_INFO", tmp_path / "cpuinfo")
    assert module.cpu_instructions() == []
    (tmp_path / "cpuinfo").write_text("processor : 0\nflags : fpu avx2 avx512f avx512_vnni amx_int8x\n")
    assert module.cpu_instructions() == ["avx2", "avx512f", "avx512_vnni"]
