"""Sequences packed into one, as collators without padding give them to an export, are read as each on its own."""

from __future__ import annotations

import pytest
import torch

from liteframe.hf.modeling import LiteFrameForConditionalGeneration
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from llava_world import llava_encoder_folder, llava_folder
from qwen3_world import qwen3_encoder_folder, qwen3_folder
from tiny_world import encoder_folder, host_folder

FOLDERS = {
    "InternVL": (host_folder, encoder_folder),
    "Qwen3-VL": (qwen3_folder, qwen3_encoder_folder),
    "LLaVA-OneVision": (llava_folder, llava_encoder_folder),
}


@pytest.mark.parametrize("family", FOLDERS)
def test_a_packed_sequence_does_not_see_the_one_before(family: str) -> None:
    base, encoder = (str(folder()) for folder in FOLDERS[family])
    host, _ = load_base_vlm(base, "eager")
    model = LiteFrameForConditionalGeneration.from_host(host, LiteFrameEncoder.from_pretrained(encoder)).eval()
    draws = torch.Generator().manual_seed(0)
    clips = torch.randn(2, 4, 3, 112, 112, generator=draws)
    with torch.no_grad():
        places = model.project_clips(clips[:1]).shape[:2].numel()
        video = torch.full((places,), model.config.image_token_id)
        first, second = (torch.cat([video, torch.randint(7, 25, (words,), generator=draws)])[None] for words in (5, 9))
        alone = model(input_ids=second, pixel_values_videos=clips[1:]).logits
        packed = torch.cat([first, second], dim=1)
        positions = torch.cat([torch.arange(each.shape[1]) for each in (first, second)])[None]
        both = model(input_ids=packed, pixel_values_videos=clips, position_ids=positions, use_cache=False).logits
        following = model(input_ids=packed, pixel_values_videos=clips, use_cache=False).logits
    close = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(both[:, first.shape[1] :], alone, **close)
    assert (following[:, first.shape[1] :] - alone).abs().max() > 1e-2, (
        "what comes before is seen where it is not packed"
    )
