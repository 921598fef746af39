from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # the threads of processes that run side by side wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from liteframe.system.fast_dtype import CpuRates

# What pytest makes of the tests' assertions is kept, also where Python is told to write no bytecode: seconds a process.
_writes_no_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, False

if not torch.cuda.is_available():  # fake tensors ask at every operation, and the driver takes its time to say no
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

# torch decides at the first backward pass which threads it starts, and after some imports it starts more: from then on
# no process that is forked from this one can train
torch.ones(1, requires_grad=True).sum().backward()


# Of transformers, with what it writes into its log as a whole of each model that is loaded.
_LOGGED = {
    "configuration_utils": "PreTrainedConfig",
    "generation.configuration_utils": "GenerationConfig",
    "image_processing_base": "ImageProcessingMixin",
    "processing_utils": "ProcessorMixin",
    "video_processing_utils": "BaseVideoProcessor",
}


def pytest_collection_finish() -> None:
    """Saves what each test would spend again.

    What has been imported is taken out of garbage collection, of which each round else walks through all of it. And
    nobody sees transformers' log, but a config becomes a page of JSON for it whenever a model is loaded.
    """
    for module, name in _LOGGED.items():
        kind = getattr(sys.modules.get(f"transformers.{module}"), name, None)
        if kind is not None:
            kind.__format__ = lambda self, form: format(type(self).__name__, form)
    sys.dont_write_bytecode = _writes_no_bytecode
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def float32_is_fast() -> Iterator[None]:
    """What `auto` computes in is the same on every machine that runs the tests."""
    with mock.patch("liteframe.system.fast_dtype.cpu_rates", lambda threads: CpuRates(bfloat16=1.0, float32=2.0)):
        yield


@pytest.fixture(scope="session")
def shared_videos() -> Path:
    """Real clips of many codecs that lie beside the repository; absent elsewhere."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "videos"
    if not folder.is_dir():
        pytest.skip("no shared/videos folder beside the repository")
    return folder
