"""Matching and merging of a batch, against loops written from the paper's description."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from liteframe.ops.token_merging import match_tokens, merge_tokens, new_places, unmerge_tokens


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def loop_merge(keys: Tensor, tokens: Tensor, sizes: list[float], merges: int) -> tuple[list[Tensor], list[float], list]:
    """One frame: tokens, sizes and members of what is left, those of A that stay first."""
    count = len(keys)
    members = {place: [place] for place in range(count)}
    cosine = torch.nn.functional.cosine_similarity
    best = {
        a: max(range(1, count, 2), key=lambda b: (float(cosine(keys[a], keys[b], 0)), -b)) for a in range(0, count, 2)
    }
    order = sorted(best, key=lambda a: (-float(cosine(keys[a], keys[best[a]], 0)), a))
    for a in order[: min(merges, count // 2)]:
        members[best[a]] += members.pop(a)
    left = sorted(members, key=lambda place: (place % 2, place))
    total = {place: sum(sizes[i] for i in members[place]) for place in left}
    means = [sum(tokens[i] * sizes[i] for i in members[place]) / total[place] for place in left]
    return means, [total[place] for place in left], [members[place] for place in left]


@pytest.mark.parametrize("count", [2, 3, 8, 11])
@pytest.mark.parametrize("merges", [0, 1, 3, 100])
def test_a_merge_equals_loops(count: int, merges: int) -> None:
    keys_BNK, tokens_BNC = random(3, count, 5), random(3, count, 4, seed=1)
    sizes_BN = torch.randint(1, 9, (3, count), generator=torch.Generator().manual_seed(2)).float()
    matching = match_tokens(keys_BNK, merges)
    merged_BMC, left_BM = merge_tokens(matching, tokens_BNC, sizes_BN)
    places_BN = new_places(matching, count)
    for frame in range(3):
        means, sizes, members = loop_merge(keys_BNK[frame], tokens_BNC[frame], sizes_BN[frame].tolist(), merges)
        torch.testing.assert_close(merged_BMC[frame], torch.stack(means))
        assert left_BM[frame].tolist() == sizes
        for place, group in enumerate(members):
            assert places_BN[frame, group].tolist() == [place] * len(group)


def test_sizes_add_up_and_every_place_gets_its_own_token_back() -> None:
    tokens_BNC, sizes_BN = random(2, 16, 4), torch.ones(2, 16)
    places_BN = torch.arange(16).expand(2, -1)
    merged_BMC = tokens_BNC
    for layer in range(3):
        matching = match_tokens(random(2, merged_BMC.shape[1], 6, seed=layer), 3)
        places_BN = new_places(matching, merged_BMC.shape[1]).gather(1, places_BN)
        merged_BMC, sizes_BN = merge_tokens(matching, merged_BMC, sizes_BN)
    assert merged_BMC.shape[1] == 16 - 9
    assert sizes_BN.sum(dim=1).tolist() == [16.0, 16.0]
    counted_BM = torch.stack([torch.bincount(row, minlength=7) for row in places_BN]).float()
    assert torch.equal(counted_BM, sizes_BN)
    # A merged token is the mean of its members, however many rounds it took.
    for frame in range(2):
        for place in range(7):
            own = tokens_BNC[frame][places_BN[frame] == place]
            torch.testing.assert_close(merged_BMC[frame, place], own.mean(dim=0))
    assert torch.equal(unmerge_tokens(merged_BMC, places_BN)[0, 5], merged_BMC[0, places_BN[0, 5]])


def test_equal_keys_merge_from_the_front() -> None:
    matching = match_tokens(torch.ones(1, 8, 3), 2)
    assert matching.sources_BR.tolist() == [[0, 2]]
    assert matching.targets_BR.tolist() == [[0, 0]]
    assert matching.kept_BU.tolist() == [[4, 6]]


def test_sizes_beyond_what_bfloat16_counts() -> None:
    tokens_BNC = torch.tensor([[[0.0], [1.0]]], dtype=torch.bfloat16)
    sizes_BN = torch.tensor([[1.0, 300.0]])
    merged_BMC, left_BM = merge_tokens(match_tokens(tokens_BNC + 1, 1), tokens_BNC, sizes_BN)
    assert left_BM.tolist() == [[301.0]]
    assert merged_BMC.dtype == torch.bfloat16
