"""What vLLM finds by the entry-point group ``vllm.general_plugins``, in each of its processes.

Imports are at the top, where vLLM goes on without a plugin that fails in a version of vLLM that it does not know.
"""

from __future__ import annotations

from typing import Any

from vllm.model_executor.models.config import MODELS_CONFIG_MAP, VerifyAndUpdateConfig
from vllm.model_executor.models.registry import ModelRegistry
from vllm.multimodal.media.connector import MODALITY_IO_MAP
from vllm.multimodal.video import VIDEO_LOADER_REGISTRY

from liteframe.errors import ConfigError
from liteframe.hf import LiteFrameForConditionalGeneration, LiteFrameProcessor
from liteframe.vllm.video_loader import LOADER, LiteFrameVideoIO, LiteFrameVideoLoader

ARCHITECTURE = LiteFrameForConditionalGeneration.__name__


class LiteFrameServing(VerifyAndUpdateConfig):
    """Frames of videos are chosen and read as in the model's training, where the server is told nothing else."""

    @staticmethod
    def verify_and_update_model_config(model_config: Any) -> None:
        """Fills in ``--media-io-kwargs`` of videos.

        Raises:
            ConfigError: the folder has an adapter apart from its LLM, or no processor, or vLLM was told to drop tokens
                of videos, which it does for other models alone, and says nothing.
        """
        if model_config.hf_config.adapter is not None:
            raise ConfigError(
                f"{model_config.model}: its adapter is kept apart from the LLM, which vLLM cannot load; export the run"
                " again with --merge True"
            )
        if model_config.multimodal_config is None:
            return
        if model_config.multimodal_config.is_multimodal_pruning_enabled():
            raise ConfigError(
                f"{model_config.model}: vLLM drops no tokens of this model's videos, whose encoder makes few of them;"
                " leave --video-pruning-rate and --video-retention-ratio out, and choose frames with --media-io-kwargs"
            )
        processor: Any = LiteFrameProcessor.from_pretrained(model_config.model, revision=model_config.revision)
        asked = model_config.multimodal_config.media_io_kwargs
        asked["video"] = {
            "video_backend": LOADER,
            "num_frames": processor.num_frames,
            "image_size": processor.image_size,
            "sampler": processor.sampler,
            **asked.get("video", {}),
        }


def register() -> None:
    """Makes vLLM know exported models; to call it again changes nothing."""
    ModelRegistry.register_model(ARCHITECTURE, f"liteframe.vllm.model:{ARCHITECTURE}")
    MODELS_CONFIG_MAP[ARCHITECTURE] = LiteFrameServing
    VIDEO_LOADER_REGISTRY.register(LOADER)(LiteFrameVideoLoader)
    MODALITY_IO_MAP["video"] = LiteFrameVideoIO
