"""The methods of the comparison, made from the folders of a finished run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from transformers import InternVLForConditionalGeneration, ProcessorMixin

from liteframe.data.store.feature_store import FeatureStore
from liteframe.errors import ConfigError
from liteframe.models.backbone import WAP, Compressor, Pool
from liteframe.models.rivals.attention_probe import AttentionProbe
from liteframe.models.rivals.dycoke_decoding import DyCokeVideoLLM
from liteframe.models.rivals.dymu import DyMUTeacher
from liteframe.models.rivals.dymu_llm import DyMUVideoLLM
from liteframe.models.rivals.earlytom import EarlyTomTeacher, EarlyTomVideoLLM
from liteframe.models.rivals.llm_pruning import PrunedVideoLLM
from liteframe.models.rivals.longvu import LongVUVideoLLM
from liteframe.models.rivals.post_hoc import PostHocVideoLLM
from liteframe.models.rivals.pruners import (
    EarlyTomInside,
    FastV,
    FlashVIDInside,
    HoliTomInside,
    Pruner,
    PruneVidInside,
    PyramidDrop,
)
from liteframe.models.rivals.tome_vit import ToMeTeacher, merges_to_leave
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.student.vit import TransformerBlock
from liteframe.models.teachers import InternVLTeacher
from liteframe.models.video_llm.adapted import frames_of, load_adapted
from liteframe.models.video_llm.answering_model import AnsweringModel
from liteframe.models.video_llm.base_vlm_loading import load_internvl
from liteframe.models.video_llm.model import LiteFrameBackbone, VideoLLM
from liteframe.ops.compressors.registry import METHODS, ON_BLOCKS, VARIANTS
from liteframe.ops.pooling import Block
from liteframe.system.own_folder import listing_sha256

ATTENTION = "sdpa"
"""Of encoders and LLM, the same in all methods."""

_BLOCKS: dict[float, Block] = {4: (1, 2, 2), 8: (2, 2, 2), 16: (4, 2, 2), 32: (8, 2, 2)}


@dataclass(frozen=True)
class RunMethod:
    """One way from frames to an answer.

    Attributes:
        name: as in tables and plots.
        model: from frames to the logits of the first answer token.
        frames: frame counts that it is measured at.
    """

    name: str
    model: AnsweringModel
    frames: tuple[int, ...]


def require_folders(*folders: Path) -> None:
    """Raises ConfigError if a stage has not left its folder."""
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder} is missing; finish the run first (`liteframe pipeline`)")


def block_of_ratio(ratio: float) -> Block:
    """Frames, rows and columns of the blocks that make so many times fewer tokens. Raises ConfigError for others."""
    if ratio not in _BLOCKS:
        raise ConfigError(f"ratio {ratio:g} is no size of a block; choose one of {', '.join(map(str, _BLOCKS))}")
    return _BLOCKS[ratio]


class RunParts:
    """What a finished run left, each part loaded once, when a method first asks for it.

    Args:
        run: folder of the run.
        base_vlm_folder: of the teacher's Video LLM, if not the run's own.
    """

    def __init__(self, run: Path, base_vlm_folder: Path | None = None) -> None:
        self.run = run
        self.base_vlm_folder = base_vlm_folder or run / "pretrain-llm" / "export"

    @cached_property
    def base_vlm(self) -> tuple[InternVLForConditionalGeneration, ProcessorMixin]:
        """The teacher's Video LLM and its processor."""
        require_folders(self.base_vlm_folder)
        return load_internvl(str(self.base_vlm_folder), ATTENTION)

    @cached_property
    def wap(self) -> WAP:
        """WAP with the settings that the run's feature store was made with."""
        store = self.run / "cache" / "store"
        made_by = FeatureStore.open(store, verify="none").key.compressor
        if (name := made_by.get("compressor")) != "wap":
            raise ConfigError(f"{store}: made with model.target {name}; methods need the settings of WAP")
        return WAP.from_description(made_by, str(store))

    @cached_property
    def teacher(self) -> VideoLLM:
        """The teacher's Video LLM, without compression."""
        return VideoLLM(*self.base_vlm)

    @cached_property
    def probe(self) -> AttentionProbe:
        """The teacher's encoder with what methods ask of its last layer; methods that need it share its features."""
        backbone = self.teacher.backbone
        assert isinstance(backbone, InternVLTeacher)
        return AttentionProbe(backbone)

    def blocks(self, ratio: float) -> WAP:
        """WAP over the blocks of that ratio. Raises ConfigError where there are none."""
        return replace(self.wap, block=block_of_ratio(ratio))

    def tome_teacher(self, ratio: float) -> VideoLLM:
        """The teacher with ToMe in every layer, which leaves ``1/ratio`` of a frame's tokens, and WAP behind it."""
        return self._tome_teacher(ratio, ratio)

    def tome_quarter_teacher(self, ratio: float) -> VideoLLM:
        """The same, but it leaves what the blocks of WAP make one of in space, a quarter: nothing is reduced twice."""
        _, rows, columns = block_of_ratio(ratio)
        return self._tome_teacher(rows * columns, ratio)

    def _tome_teacher(self, inside: float, ratio: float) -> VideoLLM:
        teacher = self.teacher.backbone
        assert isinstance(teacher, InternVLTeacher)
        config: Any = teacher.vision_tower.config
        patches = prod(side // patch for side, patch in zip(config.image_size, config.patch_size, strict=True))
        merges = merges_to_leave(patches, max(1, round(patches / inside)), teacher.layers_run)
        return VideoLLM(*self.base_vlm, ToMeTeacher(teacher, merges), self.blocks(ratio))

    def earlytom(self, ratio: float) -> EarlyTomVideoLLM:
        """The teacher whose encoder merges frames, and what is left of them at that ratio."""
        teacher = self.teacher.backbone
        assert isinstance(teacher, InternVLTeacher)
        return EarlyTomVideoLLM(VideoLLM(*self.base_vlm, EarlyTomTeacher(teacher, ratio)), ratio)

    def dymu(self, ratio: float) -> DyMUVideoLLM:
        """The teacher whose encoder merges tokens, the most alike of a video first, and the LLM that unmerges them."""
        teacher = self.teacher.backbone
        assert isinstance(teacher, InternVLTeacher)
        return DyMUVideoLLM(VideoLLM(*self.base_vlm, DyMUTeacher(teacher, ratio)))

    def compressed(self, compressor: Compressor) -> VideoLLM:
        """The teacher with a compressor on its grid."""
        return VideoLLM(*self.base_vlm, self.teacher.backbone, compressor)

    def student(self, folder: Path, compressor: Compressor | None = None) -> VideoLLM:
        """An encoder that CTD exported, in the teacher's place before the frozen LLM."""
        require_folders(folder)
        frames = frames_of(folder)
        backbone = LiteFrameBackbone(LiteFrameEncoder.from_pretrained(folder), frames.image_size)
        return _with_attention(VideoLLM(*self.base_vlm, backbone, compressor, trained=frames))

    def adapted(self, folder: Path) -> VideoLLM:
        """What LMA exported."""
        require_folders(folder)
        return _with_attention(load_adapted(folder, ATTENTION))


def _with_attention(model: VideoLLM) -> VideoLLM:
    """The model, whose student may have kept another attention implementation from its training, with `ATTENTION`."""
    for module in model.backbone.modules():
        if isinstance(module, TransformerBlock):
            module.attn.kernel = ATTENTION
    return model


Maker = Callable[[RunParts, float], Any]
"""From a run and a ratio to a method's model."""


def _on_blocks(name: str) -> Maker:
    def make(parts: RunParts, ratio: float) -> VideoLLM:
        wap = parts.blocks(ratio)
        return parts.compressed(wap if name == "wap" else Pool(name, wap.block))

    return make


def _post_hoc(name: str, settings: dict[str, Any] | None = None) -> Maker:
    def make(parts: RunParts, ratio: float) -> PostHocVideoLLM:
        needs_probe = {"keys_THWK", "cls_attention_THW"} & METHODS[name].needs_with(settings or {})
        backbone = parts.probe if needs_probe else parts.teacher.backbone
        return PostHocVideoLLM(VideoLLM(*parts.base_vlm, backbone), name, ratio, settings=settings)

    return make


def _in_both(before: Maker, pruner: Pruner) -> Maker:
    """A method with its half inside the LLM.

    `ratio` is of all tokens to those that the LLM's last layer sees, as of all that prune there. The pruner reduces by
    its own ratio, and the method before it by the rest; where less is asked for, the pruner does all of it.
    """

    def make(parts: RunParts, ratio: float) -> PrunedVideoLLM:
        inside = replace(pruner, ratio=min(ratio, pruner.ratio))
        return PrunedVideoLLM(before(parts, ratio / inside.ratio), inside)

    return make


RUN_METHODS: dict[str, Maker] = {
    "teacher": lambda parts, _: parts.teacher,
    **{f"teacher+{name}": _on_blocks(name) for name in ON_BLOCKS},
    **{f"teacher+{name}": _post_hoc(name) for name in METHODS if name not in ON_BLOCKS},
    "tome-teacher+wap": lambda parts, ratio: parts.tome_teacher(ratio),
    "tome4-teacher+wap": lambda parts, ratio: parts.tome_quarter_teacher(ratio),
    "teacher+earlytom": lambda parts, ratio: parts.earlytom(ratio),
    "teacher+dymu": lambda parts, ratio: parts.dymu(ratio),
    "teacher+longvu": lambda parts, ratio: LongVUVideoLLM(parts.teacher, ratio),
    "teacher+fastv": lambda parts, ratio: PrunedVideoLLM(parts.teacher, FastV(ratio)),
    "teacher+pyramiddrop": lambda parts, ratio: PrunedVideoLLM(parts.teacher, PyramidDrop(ratio)),
    "teacher+prunevid-llm": _in_both(_post_hoc("prunevid"), PruneVidInside()),
    "teacher+holitom-llm": _in_both(_post_hoc("holitom"), HoliTomInside()),
    "teacher+earlytom-llm": _in_both(RunParts.earlytom, EarlyTomInside()),
    "teacher+flashvid-llm": _in_both(_post_hoc("flashvid"), FlashVIDInside()),
    "liteframe-ctd": lambda parts, _: parts.student(parts.run / "ctd" / "export"),
    "liteframe-lma": lambda parts, _: parts.adapted(parts.run / "lma" / "export"),
}
"""Every method by name: how its model is made from a run, compressing so many times."""

VARIANT_METHODS: dict[str, Maker] = {
    **{f"teacher+{name}": _post_hoc(method, settings) for name, (method, settings) in VARIANTS.items()},
    # What it prunes while it decodes changes no first token, which is all that the bench asks for.
    "teacher+dycoke-llm": lambda parts, ratio: DyCokeVideoLLM(parts.teacher, ratio),
}
"""Methods that are measured where they are named, and not among all."""

_EXPORTS = {"liteframe-ctd": "ctd", "liteframe-lma": "lma"}


def exports_of(run: Path, names: Sequence[str]) -> dict[str, str]:
    """For methods that are an export of the run, the sha256 of its listing: proof of what a report is about."""
    found = {name: listing_sha256(run / _EXPORTS[name] / "export") for name in names if name in _EXPORTS}
    return {name: sha256 for name, sha256 in found.items() if sha256 is not None}


USUAL_METHODS = ("teacher", *(f"teacher+{name}" for name in ON_BLOCKS), "liteframe-ctd", "liteframe-lma")
"""Those of the pipeline's own report."""


def methods_of_run(
    run: Path,
    teacher_frames: tuple[int, ...],
    student_frames: tuple[int, ...],
    names: Sequence[str] | None = None,
    ratio: float = 16.0,
) -> list[RunMethod]:
    """The methods of a finished run, in the order of `RUN_METHODS` and `VARIANT_METHODS`.

    All that compress are asked for `ratio`, but the student.

    Some give another: DyCoke keeps a frame of four whole, and what prunes inside the LLM shows its first layers all.
    WAP has the settings that the run's feature store was made with.

    Args:
        run: folder of the run.
        teacher_frames: frame counts of the methods that use the teacher.
        student_frames: frame counts of the student's methods.
        names: which methods, of `VARIANT_METHODS` too; None is `USUAL_METHODS`, ``["all"]`` all of `RUN_METHODS`.
        ratio: how many times fewer tokens.

    Raises:
        ConfigError: an unknown name, or a run that lacks a stage which a method needs.
    """
    wanted = list(USUAL_METHODS if names is None else RUN_METHODS if list(names) == ["all"] else names)
    makers = {**RUN_METHODS, **VARIANT_METHODS}
    if unknown := [name for name in wanted if name not in makers]:
        raise ConfigError(f"method {unknown[0]!r} is unknown; choose all, or some of {', '.join(makers)}")
    parts = RunParts(run)
    return [
        RunMethod(name, make(parts, ratio).eval(), student_frames if name.startswith("liteframe") else teacher_frames)
        for name, make in makers.items()
        if name in wanted
    ]
