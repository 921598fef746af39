"""The words behind ``--model_args``."""

from __future__ import annotations

from typing import Any

import pytest

from liteframe.data.sampling import Linspace, UniformMidpoints
from liteframe.errors import ConfigError
from liteframe.lmms_eval.model_args import ModelArgs


def test_what_lmms_eval_hands_over_is_taken() -> None:
    args = ModelArgs.of({"pretrained": 7, "frames": 8, "sampler": "Linspace:by=time", "batch_size": "1"})
    assert (args.pretrained, args.frames, args.frame_sampler()) == ("7", 8, Linspace("time"))
    assert ModelArgs.of({"pretrained": "x", "sampler": "UniformMidpoints"}).frame_sampler() == UniformMidpoints()
    assert ModelArgs.of({"pretrained": "x"}).frame_sampler() is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"frmes": 8}, "--model_args frmes: there is no such argument; choose of pretrained, frames, "),
        ({"pretrained": ""}, "--model_args pretrained: missing"),
        ({"frames": 0}, "--model_args frames=0: give a whole number"),
        ({"frames": 8.5}, "--model_args frames=8.5: give a whole number"),
        ({"frames": True}, "--model_args frames=True: give a whole number"),
        ({"image_size": "224x224"}, "--model_args image_size=224x224: give a whole number"),
        ({"sampler": "RandomSegment"}, "--sampler 'RandomSegment': choose UniformMidpoints"),
        ({"sampler": "linspace"}, "--sampler 'linspace': choose UniformMidpoints"),
        ({"sampler": "Linspace:by=luck"}, "--sampler Linspace:by=luck: Linspace has no such settings"),
        ({"dtype": 16}, "--model_args dtype=16: give a name"),
        ({"engine": "openvino"}, "--model_args engine=openvino: choose one of torch, torch-compile, openvino-int8"),
        ({"batch_size": 4}, "--batch_size 4: questions are asked one at a time"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        ModelArgs.of({"pretrained": "folder", **given})
    assert said in str(raised.value)
