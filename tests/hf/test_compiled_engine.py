"""The engine torch-compile: what it compiles of student and InternVL, and what records say of it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import liteframe
from liteframe.errors import ConfigError
from liteframe.evaluation.subject import EvaluatedModel
from liteframe.evaluation.subject_loading import load_subject
from liteframe.hf.engine import COMPILED, frozen_graphs, require_engine
from liteframe.hf.loading import load_video_llm
from liteframe.models.acceleration import frozen_graphs as frozen
from liteframe.models.acceleration.compiled_layers import CompiledOrNot
from liteframe.models.acceleration.fallback import FallbackWarning
from tiny_world import host_folder, lma_run_folder


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One that is quick."""
    monkeypatch.setattr(frozen, "CompiledOrNot", partial(CompiledOrNot, backend="eager", fullgraph=True))
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def sources() -> tuple[Path, str]:
    return lma_run_folder() / "export", str(host_folder())


@pytest.mark.parametrize("place", [0, 1], ids=["student", "teacher"])
def test_the_encoder_is_compiled_when_it_is_loaded(compiler: None, place: int) -> None:
    source = sources()[place]
    chat, plain = liteframe.load(source, "cpu", engine=COMPILED), liteframe.load(source, "cpu")
    graphs = frozen_graphs(chat.model.backbone)
    assert graphs is not None and len(graphs._graphs) == 1 and frozen_graphs(plain.model.backbone) is None
    frames = 2 * graphs.batch * chat.model.clip_frames + 3
    pixels_BTCHW = torch.randint(256, (1, frames, 3, 112, 112), generator=torch.Generator().manual_seed(0)).byte()
    with torch.inference_mode():
        found, expected = chat.model.encode(pixels_BTCHW), plain.model.encode(pixels_BTCHW)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert len(graphs._graphs) == 1


def test_a_record_names_it_where_it_ran(compiler: None, monkeypatch: pytest.MonkeyPatch) -> None:
    source = sources()[0]
    subject = EvaluatedModel(load_video_llm(source, engine=COMPILED), "cpu")
    assert subject.engine["engine"]["name"] == COMPILED

    def failing(*_: Any) -> Any:
        raise RuntimeError("no C++ compiler here")

    monkeypatch.setattr(frozen, "CompiledOrNot", partial(CompiledOrNot, backend=failing))
    with pytest.warns(FallbackWarning, match=r"torch.compile is left out, as it failed"):
        subject = EvaluatedModel(load_video_llm(source, engine=COMPILED), "cpu")
    assert subject.engine == {}


def test_devices_and_compressors_that_it_is_not_for_are_refused() -> None:
    assert require_engine(COMPILED) == "cpu"
    with pytest.raises(ConfigError, match="engine torch-compile runs on CPUs alone, and the device is 'cuda'"):
        liteframe.load("no/such/model", device="cuda", engine=COMPILED)
    with pytest.raises(ConfigError, match="--engine torch-compile .*--compressor .*leave one out"):
        load_subject(str(host_folder()), "wap", engine=COMPILED)
