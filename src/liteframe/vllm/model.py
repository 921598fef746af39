"""The exported model in vLLM: LiteFrame's encoder and the projector as they are, the LLM as vLLM has it.

Each rank of a tensor-parallel LLM has the whole encoder, which is small.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from vllm.config import VllmConfig
from vllm.model_executor.models.interfaces import MultiModalEmbeddings, SupportsMultiModal
from vllm.model_executor.models.module_mapping import MultiModelKeys
from vllm.model_executor.models.utils import AutoWeightsLoader, WeightsMapper, init_vllm_registered_model, maybe_prefix
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.sequence import IntermediateTensors

from liteframe.data.transforms import normalize
from liteframe.hf.configuration import LiteFrameVideoConfig
from liteframe.hf.modeling import project_clips
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.video_llm.hosts import HOSTS
from liteframe.vllm.processing import (
    MODALITIES,
    LiteFrameDummyInputs,
    LiteFrameMultiModalProcessor,
    LiteFrameProcessingInfo,
)


@MULTIMODAL_REGISTRY.register_processor(
    LiteFrameMultiModalProcessor, info=LiteFrameProcessingInfo, dummy_inputs=LiteFrameDummyInputs
)
class LiteFrameForConditionalGeneration(nn.Module, SupportsMultiModal):
    """What vLLM runs for the architecture of this name."""

    hf_to_vllm_mapper = WeightsMapper(
        orig_to_new_prefix={"language_model.": "language_model.model.", "lm_head.": "language_model.lm_head."}
    )

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        if modality not in MODALITIES:
            raise ValueError(f"the model sees images and videos, no {modality}")
        return {"image": "<IMG_CONTEXT>", "video": "<video>"}[modality]

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        config: LiteFrameVideoConfig = vllm_config.model_config.hf_config
        self.config = config
        host = HOSTS[config.base_vlm]
        host.require_in_vllm()
        own: Any = self  # of which `nn.Module` says that every attribute may be a tensor
        with own._mark_tower_model(vllm_config, set(MODALITIES)):
            self.encoder = LiteFrameEncoder(config.encoder_config)
            self.projector = host.new_projector(config)
        with own._mark_language_model(vllm_config):
            self.language_model = init_vllm_registered_model(
                vllm_config=vllm_config,
                hf_config=config.text_config,
                prefix=maybe_prefix(prefix, "language_model"),
            )
        self.make_empty_intermediate_tensors = self.language_model.make_empty_intermediate_tensors

    def embed_multimodal(self, **kwargs: Any) -> MultiModalEmbeddings:
        """What the LLM sees of images and of videos, (tokens, C_llm) each.

        Args:
            kwargs: for each modality there is, `{modality}_clips`, uint8 pixels (clips, clip_frames, 3, height, width);
                `{modality}_clip_groups`, how many groups of frames of each clip count, (clips,); and
                `{modality}_clip_counts`, clips of each item.
        """
        embeddings: list[Tensor] = []
        for modality in MODALITIES:
            if (clips_NTCHW := kwargs.get(f"{modality}_clips")) is None:
                continue
            groups_N = kwargs[f"{modality}_clip_groups"]
            visual_GNC = project_clips(
                self.encoder, self.projector, self.config.downsample_ratio, normalize(clips_NTCHW), groups_N
            )
            sizes = [int(groups.sum()) for groups in groups_N.split(kwargs[f"{modality}_clip_counts"].tolist())]
            embeddings.extend(visual.flatten(0, 1) for visual in visual_GNC.split(sizes))
        return embeddings

    def forward(
        self,
        input_ids: Tensor | None,
        positions: Tensor,
        intermediate_tensors: IntermediateTensors | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: object,
    ) -> Tensor | IntermediateTensors:
        return self.language_model.model(input_ids, positions, intermediate_tensors, inputs_embeds=inputs_embeds)

    def compute_logits(self, hidden_states: Tensor) -> Tensor | None:
        return self.language_model.compute_logits(hidden_states)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        return AutoWeightsLoader(self).load_weights(weights, mapper=self.hf_to_vllm_mapper)

    def get_mm_mapping(self) -> MultiModelKeys:
        return MultiModelKeys.from_string_field(
            language_model="language_model", connector="projector", tower_model="encoder"
        )
