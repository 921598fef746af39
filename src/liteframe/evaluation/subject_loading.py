"""A model to evaluate from a folder, with a compressor of the project where one is asked for."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from transformers import InternVLForConditionalGeneration, ProcessorMixin

from liteframe.bench.run_methods import RUN_METHODS, VARIANT_METHODS, RunParts
from liteframe.errors import ConfigError
from liteframe.evaluation.subject import Answering
from liteframe.hf.engine import TORCH
from liteframe.hf.loading import load_video_llm
from liteframe.models.backbone import WAP
from liteframe.models.rivals.uneven import UnevenVideoLLM
from liteframe.models.video_llm.adapted import is_adapted
from liteframe.models.video_llm.base_vlm_loading import load_internvl
from liteframe.models.video_llm.precision import merged_dtype

_METHODS = {**RUN_METHODS, **VARIANT_METHODS}
_OF_THE_TEACHER = "teacher+"


class _BaseVLM(RunParts):
    """A base VLM that no run of ours has to do with, for the methods that need nothing else."""

    def __init__(self, source: str) -> None:
        super().__init__(Path(source))
        self.source = source

    @cached_property
    def base_vlm(self) -> tuple[InternVLForConditionalGeneration, ProcessorMixin]:
        return load_internvl(self.source)

    @cached_property
    def wap(self) -> WAP:
        return WAP()


def compressors() -> list[str]:
    """The names that `load_subject` takes."""
    return [name.removeprefix(_OF_THE_TEACHER) for name in _METHODS if name.startswith(_OF_THE_TEACHER)]


def load_subject(
    source: str,
    compressor: str | None = None,
    ratio: float = 16.0,
    engine: str = TORCH,
    dtype: str | None = None,
) -> Answering:
    """A model to evaluate.

    Args:
        source: export folder of an LMA run, its run folder or a pipeline's, what `liteframe export` made of it, or a
            base VLM's folder or hub id.
        compressor: a method of the project between an InternVL and its LLM; None leaves every token.
        ratio: how many times fewer tokens it leaves.
        engine: that runs the encoder, see `load_video_llm`.
        dtype: "float32", "bfloat16" or "float16", that it will answer in, see `merged_dtype`; None is the one of the
            LLM's weights.

    Raises:
        ConfigError: nothing there that is a Video LLM, an unknown compressor, or one for a model that has its own; an
            engine that cannot run it.
    """
    inside = [Path(source, name) for name in ("", "export", "lma/export") if is_adapted(Path(source, name))]
    source = str(inside[0]) if inside else source
    if compressor is None:
        return load_video_llm(source, dtype=merged_dtype(dtype), engine=engine)
    if engine != TORCH:
        raise ConfigError(f"--engine {engine} is for models as they are, --compressor changes one; leave one out")
    if compressor not in compressors():
        raise ConfigError(f"--compressor {compressor!r} is unknown; choose one of {', '.join(compressors())}")
    if is_adapted(Path(source)):
        raise ConfigError(
            f"{source}: was trained with the tokens that it makes itself; --compressor is for an InternVL as published"
        )
    made: Answering = _METHODS[_OF_THE_TEACHER + compressor](_BaseVLM(source), ratio)
    if isinstance(made, UnevenVideoLLM) and made.whole_prompts:
        raise ConfigError(
            f"--compressor {compressor} puts video and question into its LLM together, which an evaluation does not;"
            " measure it with `liteframe bench`"
        )
    return made.eval()
