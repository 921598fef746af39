"""What lmms-eval finds by the entry-point group ``lmms_eval.models``."""

from __future__ import annotations

from typing import Any


def manifest() -> Any:
    """The `ModelManifest` of the model ``liteframe``; called by lmms-eval, which is there then."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="liteframe", chat_class_path="liteframe.lmms_eval.model.LiteFrame")
