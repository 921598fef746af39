"""The arms of the comparison, made from the folders of a finished run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transformers import InternVLForConditionalGeneration, ProcessorMixin

from liteframe.data.feature_store import FeatureStore
from liteframe.errors import ConfigError
from liteframe.models.adapted import load_adapted
from liteframe.models.backbone import WAP, Compressor, Dense, Pool
from liteframe.models.encoder import LiteFrameEncoder
from liteframe.models.video_llm import LiteFrameBackbone, VideoLLM, load_host

ATTENTION = {"vision_config": "eager", "text_config": "sdpa"}
"""Fastest on a CPU: plain for the 65 tokens of a tiny frame, fused for the LLM's long prompts. The same in all arms."""


@dataclass(frozen=True)
class Arm:
    """One way from frames to an answer.

    Attributes:
        name: as in tables and plots.
        model: backbone, compressor, projector and LLM.
        frames: frame counts that it is measured at.
    """

    name: str
    model: VideoLLM
    frames: tuple[int, ...]


def require_folders(*folders: Path) -> None:
    """Raises ConfigError if a stage has not left its folder."""
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder} is missing; finish the run first (`liteframe pipeline`)")


def teacher_of_run(run: Path) -> tuple[InternVLForConditionalGeneration, ProcessorMixin, WAP]:
    """The host of a run, its processor, and WAP with the settings that the run's feature store was made with.

    Raises:
        ConfigError: the run lacks its host.
    """
    host_folder = run / "pretrain-llm" / "export"
    require_folders(host_folder)
    made_by = FeatureStore.open(run / "cache" / "store", verify="none").key.compressor
    if made_by["compressor"] != "wap":
        raise ConfigError(
            f"{run / 'cache' / 'store'}: made with model.target {made_by['compressor']}; arms need the settings of WAP"
        )
    block = (made_by["block"][0], made_by["block"][1], made_by["block"][2])
    host, processor = load_host(str(host_folder), ATTENTION)
    return host, processor, WAP(block, made_by["similarity"], made_by["scale"], made_by["saliency"])


def arms_of_run(run: Path, teacher_frames: tuple[int, ...], student_frames: tuple[int, ...]) -> list[Arm]:
    """Teacher, teacher with each compressor at 16x, student after CTD and student after LMA.

    WAP has the settings that the run's feature store was made with.

    Raises:
        ConfigError: the run lacks a stage.
    """
    ctd, lma = run / "ctd" / "export", run / "lma" / "export"
    require_folders(ctd, lma)
    host, processor, wap = teacher_of_run(run)
    teacher = VideoLLM(host, processor).eval()
    compressors: dict[str, Compressor] = {
        "teacher": Dense(),
        "teacher+average": Pool("average", wap.block),
        "teacher+max": Pool("max", wap.block),
        "teacher+subsample": Pool("subsample", wap.block),
        "teacher+wap": wap,
    }
    arms = [
        Arm(name, VideoLLM(host, processor, teacher.backbone, compressor).eval(), teacher_frames)
        for name, compressor in compressors.items()
    ]
    encoder = LiteFrameEncoder.from_pretrained(ctd)
    swapped = VideoLLM(host, processor, LiteFrameBackbone(encoder)).eval()
    arms.append(Arm("liteframe-ctd", swapped, student_frames))
    arms.append(Arm("liteframe-lma", load_adapted(lma, ATTENTION), student_frames))
    return arms
