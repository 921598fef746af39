from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from liteframe.data.loading.batching import BatchShape
from liteframe.data.loading.training_data import TrainingData, samples_of
from liteframe.data.sampling import RandomSegment
from liteframe.data.store.feature_store import FeatureStore, StoreKey
from liteframe.data.store.finalize import finalize
from liteframe.data.store.writer import FeatureStoreWriter
from liteframe.errors import ConfigError


def stored(folder: Path) -> FeatureStore:
    key = StoreKey({}, {"block": [4, 2, 2]}, {}, {"frames": 4}, "auto", "float32", 4)
    with FeatureStoreWriter(folder, key, dtype=torch.float32) as writer:
        for name in ("a", "b"):
            entry = {"path": f"{name}.mp4", "frame_indices": [0, 1, 2, 3], "valid_frames": 4}
            writer.add(name, torch.zeros(1, 2, 2, 3), entry)
    finalize(folder, key)
    return FeatureStore.open(folder)


def older(data: TrainingData, ids: list[str], frames: int) -> dict[str, Any]:
    """A checkpoint with one digest of all ids in place of the samples, and the frames that the settings named."""
    described = data.state_dict()["training_data"]
    shapes = [[frames, *rest] for _, *rest in described["shapes"]]
    return {
        "training_data": described | {"shapes": shapes, "samples": hashlib.sha256(json.dumps(ids).encode()).hexdigest()}
    }


def test_an_older_checkpoint_of_a_store_goes_on_whatever_frames_it_names(tmp_path: Path) -> None:
    store = stored(tmp_path / "store")
    data = TrainingData(samples_of(store, []), store, [], [BatchShape(4, 1, 1.0, RandomSegment())], seed=0)
    assert data.going_on(older(data, ["a", "b"], frames=8)) is data.samples
    with pytest.raises(ConfigError, match="earlier version"):
        data.going_on(older(data, ["a", "c"], frames=8))
    with pytest.raises(ConfigError, match="shapes"):
        data.going_on(data.state_dict() | {"training_data": older(data, ["a", "b"], frames=8)["training_data"]})
