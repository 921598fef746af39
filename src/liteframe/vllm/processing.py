"""Images, videos and prompts to what the model in vLLM takes, by the exported processor."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from transformers import BatchFeature
from vllm.exceptions import VLLMValidationError
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.processing import (
    BaseDummyInputsBuilder,
    BaseMultiModalProcessor,
    BaseProcessingInfo,
    PromptReplacement,
    PromptUpdate,
    PromptUpdateDetails,
)

from liteframe.errors import DataError
from liteframe.hf.configuration import LiteFrameVideoConfig
from liteframe.hf.inputs import read_image, read_video
from liteframe.hf.processing import LiteFrameProcessor
from liteframe.models.video_llm.prompts import PromptBuilder
from liteframe.vllm.errors import request_errors

MODALITIES = ("image", "video")


class LiteFrameProcessingInfo(BaseProcessingInfo):
    """The exported config and processor."""

    def get_hf_config(self) -> LiteFrameVideoConfig:
        return self.ctx.get_hf_config(LiteFrameVideoConfig)

    def get_hf_processor(self, **kwargs: object) -> LiteFrameProcessor:
        """Raises VLLMValidationError for settings: frames come chosen and read already."""
        if asked := {name: value for name, value in self.ctx.get_merged_mm_kwargs(kwargs).items() if value is not None}:
            raise VLLMValidationError(
                f"mm_processor_kwargs: {min(asked)} cannot be set; the number of frames is set by"
                ' media_io_kwargs, as {"video": {"num_frames": 32}}',
                parameter="mm_processor_kwargs",
            )
        return self.ctx.get_hf_processor(LiteFrameProcessor)

    def get_supported_mm_processor_kwargs(self) -> dict[str, set[str]]:
        return {}

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        return dict.fromkeys(MODALITIES)

    @cached_property
    def prompts(self) -> PromptBuilder:
        processor = self.get_hf_processor()
        processor.host.require_in_vllm()
        return PromptBuilder(processor)

    def text_ids(self, modality: str, groups: int) -> list[int]:
        """Ids of what stands in a prompt for an image or video. Raises DataError for more lines than have numbers."""
        processor = self.get_hf_processor()
        text = processor.text_of(modality, groups)
        self.prompts.require_known(text)
        return list(processor.tokenizer(text, add_special_tokens=False).input_ids)

    def most_groups(self, tokens: int) -> int:
        """Groups of frames of the longest video that takes at most so many tokens in a prompt, 1 at least."""

        def is_longer(groups: int) -> bool:
            try:
                return len(self.text_ids("video", groups)) > tokens
            except DataError:
                return True

        most = tokens // self.get_hf_processor().tokens_per_group
        return max(1, bisect_left(range(1, most + 1), True, key=is_longer))


class LiteFrameDummyInputs(BaseDummyInputsBuilder[LiteFrameProcessingInfo]):
    """The largest inputs that there can be, by which vLLM measures memory."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        processor = self.info.get_hf_processor()
        tokens = {"image": processor.image_token, "video": processor.video_token}
        return "".join(tokens[modality] * mm_counts.get(modality, 0) for modality in MODALITIES)

    def get_dummy_mm_data(self, seq_len: int, mm_counts: Mapping[str, int], mm_options: Mapping[str, Any]) -> Any:
        processor = self.info.get_hf_processor()
        height, width = processor.image_size
        videos = mm_counts.get("video", 0)
        groups = self.info.most_groups(seq_len // max(1, videos))
        return {
            "image": self._get_dummy_images(
                width=width, height=height, num_images=mm_counts.get("image", 0), overrides=mm_options.get("image")
            ),
            "video": self._get_dummy_videos(
                width=width,
                height=height,
                num_frames=groups * processor.frames_per_group,
                num_videos=videos,
                overrides=mm_options.get("video"),
            ),
        }


class LiteFrameMultiModalProcessor(BaseMultiModalProcessor[LiteFrameProcessingInfo]):
    """Makes, of each image and video, its clips in uint8 and how many groups of frames of each clip count."""

    def _call_hf_processor(self, hf_data: Mapping[str, Any], hf_kwargs: Mapping[str, object]) -> BatchFeature:
        processor = self.info.get_hf_processor(**hf_kwargs)
        height, width = processor.image_size
        data: dict[str, Any] = {}
        with request_errors():
            for modality in MODALITIES:
                clips, groups, counts = [], [], []
                for item in hf_data.get(f"{modality}s", ()):
                    if modality == "image":
                        frames_TCHW = read_image(item, (height, width))
                    else:
                        frames_TCHW, _ = read_video(item, (height, width), num_frames=None, fps=None)
                    clips_NTCHW, counted = processor.clips_of(frames_TCHW)
                    clips.append(clips_NTCHW)
                    groups.extend(counted)
                    counts.append(len(clips_NTCHW))
                if clips:
                    data[f"{modality}_clips"] = torch.cat(clips)
                    data[f"{modality}_clip_groups"] = torch.tensor(groups)
                    data[f"{modality}_clip_counts"] = torch.tensor(counts)
        return BatchFeature(data)

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> Mapping[str, MultiModalFieldConfig]:
        fields: dict[str, MultiModalFieldConfig] = {}
        for modality in MODALITIES:
            counts = hf_inputs.get(f"{modality}_clip_counts", torch.empty(0, dtype=torch.long))
            fields |= {
                f"{modality}_clips": MultiModalFieldConfig.flat_from_sizes(modality, counts),
                f"{modality}_clip_groups": MultiModalFieldConfig.flat_from_sizes(modality, counts, keep_on_cpu=True),
                f"{modality}_clip_counts": MultiModalFieldConfig.batched(modality, keep_on_cpu=True),
            }
        return fields

    def _get_prompt_updates(
        self, mm_items: Any, hf_processor_mm_kwargs: Mapping[str, object], out_mm_kwargs: Any
    ) -> Sequence[PromptUpdate]:
        processor = self.info.get_hf_processor()
        image_token_id = self.info.get_hf_config().image_token_id

        def replacement(modality: str) -> Any:
            def lines(item: int) -> PromptUpdateDetails:
                groups = int(out_mm_kwargs[modality][item][f"{modality}_clip_groups"].data.sum())
                with request_errors():
                    ids = self.info.text_ids(modality, groups)
                return PromptUpdateDetails.select_token_id(ids, image_token_id)

            return lines

        tokens = {"image": processor.image_token, "video": processor.video_token}
        return [
            PromptReplacement(modality, [self._token_id(tokens[modality])], replacement(modality))
            for modality in MODALITIES
        ]

    def _maybe_apply_prompt_updates(self, mm_items: Any, mm_res: Any) -> Any:
        """As the base class; words of a user that stand for an image or video do not get the place of one."""
        processor, counts = self.info.get_hf_processor(), mm_items.get_all_counts()
        for modality, token in (("image", processor.image_token), ("video", processor.video_token)):
            places, given = mm_res.prompt_ids.count(self._token_id(token)), counts.get(modality, 0)
            if places != given:
                raise VLLMValidationError(
                    f"the prompt has {places} {token} for {given} {modality}s; leave them out of texts"
                )
        return super()._maybe_apply_prompt_updates(mm_items, mm_res)

    def _token_id(self, token: str) -> int:
        return int(self.info.get_hf_processor().tokenizer.convert_tokens_to_ids(token))
