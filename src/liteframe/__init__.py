"""liteframe: small, fast video encoders for Video LLMs (arXiv 2605.17260).

Axes, as the names of tensors carry them::

    B  clips or videos      T  frames (or clips of frames, after compression)
    H  rows of the grid     W  columns of the grid
    C  channels             N  tokens         L  text tokens
    K  width of the keys    M  tokens kept

so ``frames_BTCHW`` are pixels and ``tokens_BTHWC`` are tokens on a grid.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {
    "weighted_average_pool": "liteframe.ops.wap",
    "wap_weights": "liteframe.ops.wap",
    "average_pool": "liteframe.ops.pooling",
    "max_pool": "liteframe.ops.pooling",
    "subsample": "liteframe.ops.pooling",
    "LiteFrameConfig": "liteframe.models.student.encoder",
    "LiteFrameEncoder": "liteframe.models.student.encoder",
    "LiteFrameOutput": "liteframe.models.student.encoder",
    "InternVLTeacher": "liteframe.models.teachers",
    "VideoLLM": "liteframe.models.video_llm.model",
    "VideoDataModule": "liteframe.data.datamodule",
    "load": "liteframe.chat.loading",
    "FeatureStore": "liteframe.data.store.feature_store",
    "VideoFrames": "liteframe.data.decoding.processes.job",
    "probe_video": "liteframe.data.decoding.read_video",
    "read_video": "liteframe.data.decoding.read_video",
    "LiteFrameError": "liteframe.errors",
}

__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from liteframe.system.installation import installed_version

        return installed_version()
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'liteframe' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
