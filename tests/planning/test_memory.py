"""Sharing out weights divides what it should."""

from __future__ import annotations

from liteframe.planning.memory import Part, memory


def test_weights_gradients_and_states() -> None:
    parts = [Part("encoder", 100, 100, 4, 10), Part("LLM", 1000, 0, 2, 50), Part("teacher", 40, 0, 4)]
    one = memory(parts, 7.0, 5.0, gpus=1, sharded=False, autocast=True)
    assert (one.weights, one.gradients, one.optimizer, one.casts) == (2560, 400, 800, 200)
    assert one.total == 2560 + 400 + 800 + 200 + 7 + 5
    eight = memory(parts, 7.0, 5.0, gpus=8, sharded=False, autocast=False)
    assert (eight.weights, eight.gradients, eight.optimizer, eight.casts) == (2560, 800, 800, 0), "DDP's buckets"
    shared = memory(parts, 7.0, 5.0, gpus=8, sharded=True, autocast=False)
    gathered = 10 * 4 + 50 * 2
    assert shared.weights == 2400 / 8 + 160 + gathered, "the teacher is whole on each"
    assert (shared.gradients, shared.optimizer, shared.activations) == (50, 100, 7)
