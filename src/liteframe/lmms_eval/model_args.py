"""``--model_args`` of lmms-eval: all that changes an answer, as lmms-eval keeps answers by these words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from liteframe.data.sampling import FrameSampler
from liteframe.errors import ConfigError
from liteframe.evaluation.frames import parse_sampler
from liteframe.hf.engine import ENGINES, TORCH


@dataclass(frozen=True)
class ModelArgs:
    """The words behind ``--model_args``, and what lmms-eval adds to them.

    Attributes:
        pretrained: export folder of an LMA run, what `liteframe export` made of it, or a base VLM's folder or hub id.
        frames: of a video to look at, at most. None is as many as the model was trained on, or 64.
        sampler: the rule that chooses them, as of `liteframe evaluate`; None is that of the model's training.
        image_size: side in pixels that frames are resized to. None is what the model was made for.
        dtype: "float32", "bfloat16" or "float16"; None is the one of the LLM's weights, and "auto" on a CPU the faster
            of float32 and bfloat16.
        attention: attention implementation of the LLM, "eager" or "sdpa"; None is transformers' choice.
        engine: that runs the encoder, "torch", "torch-compile" or "openvino-int8", see `liteframe.load`.
        device: "cpu", "cuda", ...; "cuda", and "auto" where there is a GPU, is another one for each process; "cuda:1"
            is that one for all.
        batch_size: questions at a time, of which there is one.
    """

    pretrained: str
    frames: int | None = None
    sampler: str | None = None
    image_size: int | None = None
    dtype: str | None = None
    attention: str | None = None
    engine: str = TORCH
    device: str = "auto"
    batch_size: int = 1

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> ModelArgs:
        """Checks what lmms-eval made of the words: numbers where it could, else texts.

        Raises:
            ConfigError: an argument is unknown, missing, or of another kind; names it.
        """
        known = [field.name for field in fields(cls)]
        for name in given:
            if name not in known:
                raise ConfigError(f"--model_args {name}: there is no such argument; choose of {', '.join(known)}")
        if given.get("pretrained") in (None, ""):
            raise ConfigError("--model_args pretrained: missing; give pretrained=FOLDER of an exported model")
        args = cls(**{**given, "pretrained": str(given["pretrained"])})
        for name in ("frames", "image_size"):
            value = getattr(args, name)
            if value is not None and (type(value) is not int or value < 1):
                raise ConfigError(f"--model_args {name}={value}: give a whole number above 0")
        for name in ("sampler", "dtype", "attention", "engine", "device"):
            value = getattr(args, name)
            if value is not None and not isinstance(value, str):
                raise ConfigError(f"--model_args {name}={value}: give a name")
        if args.engine not in ENGINES:
            raise ConfigError(f"--model_args engine={args.engine}: choose one of {', '.join(ENGINES)}")
        if str(args.batch_size) != "1":
            raise ConfigError(f"--batch_size {args.batch_size}: questions are asked one at a time; give 1")
        args.frame_sampler()
        return args

    def frame_sampler(self) -> FrameSampler | None:
        """The sampler of that name; None for none. Raises ConfigError where there is none without chance."""
        return None if self.sampler is None else parse_sampler(self.sampler)
