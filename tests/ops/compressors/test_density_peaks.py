from __future__ import annotations

import pytest
import torch
from compressor_loops import clusters, peaks, vectors

from liteframe.ops.compressors.density_peaks import density_peaks, nearest_centre


@pytest.mark.parametrize("neighbours", [1, 4, 7, 50])
def test_centres_and_clusters_equal_loops(neighbours):
    tokens_BNC = torch.randn(3, 20, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    order_BN, distances_BNN = density_peaks(tokens_BNC, neighbours)
    torch.testing.assert_close(distances_BNN, torch.cdist(tokens_BNC, tokens_BNC) / 6**0.5)
    counts = [1, 5, 20]
    labels_BN = nearest_centre(order_BN, distances_BNN, counts)
    for row, count in enumerate(counts):
        points = vectors(tokens_BNC[row])
        order = peaks(points, neighbours)
        assert order_BN[row].tolist() == order
        for number, members in enumerate(clusters(points, order[:count])):
            assert (labels_BN[row] == number).nonzero().squeeze(-1).tolist() == members


def test_the_best_centres_lie_in_different_clumps():
    noise = 0.01 * torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    clumps = torch.tensor([0.0, 5.0, -5.0]).repeat(4)[:, None]
    order_1N, distances_1NN = density_peaks((noise + clumps)[None], neighbours=3)
    assert {int(place) % 3 for place in order_1N[0, :3]} == {0, 1, 2}
    labels = nearest_centre(order_1N[:, :3], distances_1NN, [3])[0]
    assert all(len(set(labels[clump::3].tolist())) == 1 for clump in range(3))


def test_equal_tokens_rank_in_their_order_and_stay_at_distance_zero():
    order_1N, distances_1NN = density_peaks(torch.full((1, 6, 64), 3.7), neighbours=4)
    assert order_1N.tolist() == [[0, 1, 2, 3, 4, 5]]
    assert distances_1NN.abs().max() == 0


def test_what_all_tokens_share_does_not_blur_their_distances():
    tokens_BNC = torch.randn(1, 12, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 1000
    _, distances_BNN = density_peaks(tokens_BNC.float(), neighbours=4)
    exact_BNN = torch.cdist(tokens_BNC.float().double(), tokens_BNC.float().double()) / 8**0.5
    torch.testing.assert_close(distances_BNN.double(), exact_BNN, rtol=1e-4, atol=1e-6)


def test_a_centre_equal_to_another_stays_its_own():
    order_1N, distances_1NN = density_peaks(torch.zeros(1, 4, 3), neighbours=2)
    assert nearest_centre(order_1N[:, :3], distances_1NN, [3]).tolist() == [[0, 1, 2, 0]]


def test_a_single_token_is_its_own_centre():
    order_1N, distances_1NN = density_peaks(torch.ones(1, 1, 3), neighbours=7)
    assert nearest_centre(order_1N, distances_1NN, [1]).tolist() == [[0]]
