"""What is caught of the last layer is what the plain kernel computes there."""

from __future__ import annotations

import pytest
import torch
from transformers import InternVLVisionConfig, InternVLVisionModel

from liteframe.models.rivals.attention_probe import AttentionProbe, attention_row
from liteframe.models.teachers import InternVLTeacher


def tower(kernel: str, qk_norm: bool) -> InternVLVisionModel:
    torch.manual_seed(0)
    config = InternVLVisionConfig(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=[56, 56],
        patch_size=[14, 14],
        use_qk_norm=qk_norm,
        initializer_range=0.3,
    )
    config._attn_implementation = kernel
    return InternVLVisionModel(config).eval()


@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
def test_keys_and_class_attention_are_those_of_the_last_layer(kernel: str, qk_norm: bool) -> None:
    frames = torch.randn(2, 3, 3, 56, 28, generator=torch.Generator().manual_seed(1))
    seen = AttentionProbe(InternVLTeacher(tower(kernel, qk_norm)))(frames)
    plain = tower("eager", qk_norm)
    caught = {}
    last = plain.encoder.layer[-1].attention
    last.register_forward_hook(lambda module, inputs, output: caught.update(weights=output[1], normed=inputs[0]))
    with torch.no_grad():
        plain(pixel_values=frames.flatten(0, 1))
        keys = last.k_norm(last.k_proj(caught["normed"]))
    weights_MN = caught["weights"].mean(dim=1)[:, 0]
    torch.testing.assert_close(seen.cls_attention_BTHW, weights_MN[:, 1:].reshape(2, 3, 4, 2), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(seen.keys_BTHWK, keys[:, 1:].reshape(2, 3, 4, 2, 16), rtol=1e-4, atol=1e-6)
    assert weights_MN.std() > 1e-3, "attention of a random tower is not flat"


def test_probing_changes_no_token_and_leaves_no_hook() -> None:
    teacher = InternVLTeacher(tower("sdpa", False))
    frames = torch.randn(1, 2, 3, 56, 56)
    probed, bare = AttentionProbe(teacher)(frames), teacher(frames)
    assert torch.equal(probed.tokens_BTHWC, bare.tokens_BTHWC)
    assert torch.equal(probed.cls_BTC, bare.cls_BTC)  # type: ignore[arg-type]
    assert bare.keys_BTHWK is None and bare.cls_attention_BTHW is None
    attention = teacher.vision_tower.encoder.layer[-1].attention
    assert not attention.q_norm._forward_hooks and not attention.k_norm._forward_hooks


def test_frames_are_picked_with_their_keys_and_attention() -> None:
    vision = AttentionProbe(InternVLTeacher(tower("sdpa", False)))(torch.randn(1, 4, 3, 56, 56))
    some = vision.at(torch.tensor([2, 0]))
    assert torch.equal(some.keys_BTHWK, vision.keys_BTHWK[:, [2, 0]])  # type: ignore[arg-type, index]
    assert torch.equal(some.cls_attention_BTHW, vision.cls_attention_BTHW[:, [2, 0]])  # type: ignore[arg-type, index]


def test_query_heads_may_share_key_heads() -> None:
    generator = torch.Generator().manual_seed(0)
    query_MK = torch.randn(2, 12, generator=generator)
    keys_MNK = torch.randn(2, 5, 6, generator=generator)
    row_MN = torch.zeros(2, 5)
    for row in range(2):
        for head in range(4):
            query, shared = query_MK[row, 3 * head : 3 * head + 3], head // 2
            logits = [0.7 * float(query @ keys_MNK[row, n, 3 * shared : 3 * shared + 3]) for n in range(5)]
            row_MN[row] += torch.tensor(logits).softmax(dim=0) / 4
    torch.testing.assert_close(attention_row(query_MK, keys_MNK, 4, 0.7), row_MN)
