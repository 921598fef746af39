"""DyCoke's pruning of the cache against decoding that masks what is not seen."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from liteframe.errors import ConfigError
from liteframe.models.rivals.dycoke_decoding import DyCokeSharedVideo, DyCokeVideoLLM
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.generation import SharedVideo
from liteframe.models.video_llm.model import VideoLLM
from tiny_world import host_folder

QUESTION = "color of the first triangle"
LENGTH = 8
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@lru_cache
def host(kernel: str = "sdpa") -> VideoLLM:
    model, processor = load_base_vlm(str(host_folder()), kernel)
    video_llm = VideoLLM(model.eval(), processor).eval()
    video_llm._end_ids = (-1,)  # so that no answer ends early
    video_llm.prompts.tokenizer.eos_token_id = None
    return video_llm


def prompt(model: DyCokeVideoLLM) -> tuple[Tensor, list[int], list[int]]:
    frames = torch.randn(1, 6, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        (video,) = model.project(model.encode(frames))
    before, after = model.prompts.question_ids_of_lines(QUESTION, video.lines)
    return video.compressed.tokens_MC[None, None], before, after


def masked_answer(
    visual: Tensor, ids: list[int], dropped: float, after: int, alike: float = 0.9
) -> tuple[list[int], list[Tensor], int]:
    """A greedy answer of a plain kernel that has all keys, and hides some by a mask; its states behind the first token,
    and how many of them saw less than all."""
    model = host("eager")
    llm, cache = model.language_model, DynamicCache(config=model.language_model.config)
    hidden = model.hidden_states(model.embed(torch.tensor([ids]), visual), cache=cache)[:, -1]
    places = [place for place, token in enumerate(ids) if token == model.image_token_id]
    answer, states, before, hid = list[int](), list[Tensor](), None, 0
    while True:
        answer.append(int(model.lm_head(hidden).argmax()))
        if len(answer) == LENGTH:
            return answer, states, hid
        state, place = model.embed(torch.tensor([[answer[-1]]]), None), len(ids) + len(answer) - 1
        rotary, mask = llm.rotary_emb(state, torch.tensor([[place]])), torch.zeros(1, 1, 1, place + 1)
        for depth, layer in enumerate(llm.layers, start=1):
            rows: list[Tensor] = []
            hook = layer.self_attn.register_forward_hook(lambda _module, _inputs, output, to=rows: to.append(output[1]))
            state = layer(state, attention_mask=mask, position_embeddings=rotary, past_key_values=cache, use_cache=True)
            hook.remove()
            if depth == after:
                row = rows[0].mean(dim=1)[0, -1, places]
                if before is None or float(torch.cosine_similarity(row, before, dim=0)) < alike:
                    stays = row.topk(int(len(places) * (1 - dropped))).indices.tolist()
                    mask[..., [place for i, place in enumerate(places) if i not in stays]] = float("-inf")
                    hid += 1
                before = row
        hidden = llm.norm(state)[:, -1]
        states.append(hidden)


class Watched(DyCokeSharedVideo):
    """Keeps the states of its answers."""

    def answer(self, video_ids: list[int], asked_ids: list[int], max_tokens: int) -> tuple[Tensor, list[int]]:
        self.states: list[Tensor] = []
        return super().answer(video_ids, asked_ids, max_tokens)

    def _next(self, token: int) -> Tensor:
        self.states.append(super()._next(token))
        return self.states[-1]


@torch.inference_mode()
@pytest.mark.parametrize(("dropped", "after"), [(0.7, 1), (0.9, 2), (0.0, 1)])
@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_pruning_is_masking(dropped: float, after: int, kernel: str) -> None:
    visual, before, asked = prompt(DyCokeVideoLLM(host(), 2.0))
    shared = Watched(host(kernel), visual, None, dropped, after)
    answer, states, hid = masked_answer(visual, before + asked, dropped, after)
    assert 0 < hid < LENGTH - 1, "some tokens see less than all, and some see all"
    for _ in range(2):  # the second answer knows nothing of the first
        first_C, ids = shared.answer(before, asked, LENGTH)
        assert ids == answer
        torch.testing.assert_close(torch.cat(shared.states), torch.cat(states), **CLOSE)
    plain = SharedVideo(host(kernel), visual)
    plain_C, _ = plain.answer(before, asked, 0)
    torch.testing.assert_close(first_C, plain_C, **CLOSE)
    plain._through(asked)
    assert torch.allclose(plain._next(answer[0]), states[0], **CLOSE) == (dropped == 0.0)


def test_the_model_tells_what_it_is() -> None:
    described = DyCokeVideoLLM(host(), 2.0).describe()
    assert (described["compressor"], described["dropped"], described["ratio"]) == ("dycoke-llm", 0.7, 2.0)
    assert "absent" not in described
    with pytest.raises(ConfigError, match="dropped must lie between 0 and 1"):
        DyCokeVideoLLM(host(), dropped=1.5)
