"""Plans of the stages that look at frames alone, and which plan is whose."""

from __future__ import annotations

from math import prod

from lightning.pytorch import LightningModule

from liteframe.data.datamodule import VideoDataModule
from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.data.store.feature_store import read_key
from liteframe.data.store.index import is_there
from liteframe.errors import ConfigError
from liteframe.models.backbone import WAP
from liteframe.models.student.from_teacher import default_clip
from liteframe.ops.pooling import check_blocks
from liteframe.planning.forward_pass import student_pass, vision_tower_flops
from liteframe.planning.lma_plan import plan_lma
from liteframe.planning.memory import frames_bytes, vision_tower_workspace
from liteframe.planning.parts import (
    BatchPlan,
    StagePlan,
    Target,
    frame_size,
    of_video,
    part,
    require_width,
    source_name,
    student_points,
    teacher_part,
    vision_config,
    whole_clips,
    with_shuffle,
)
from liteframe.stages.cache import CacheStage
from liteframe.stages.ctd import CTDStage
from liteframe.stages.lma import LMAStage


def plan_stage(stage: LightningModule, data: VideoDataModule, text_tokens: int) -> StagePlan:
    """The plan of a stage that was built on `meta`.

    Args:
        stage: of the paper's recipe.
        data: what it reads.
        text_tokens: of question, answer and template of a video, for the stage that runs the LLM.

    Raises:
        ConfigError: another stage, or widths that do not fit each other.
        GeometryError: frames that do not fill the grid.
    """
    if isinstance(stage, CacheStage):
        return _plan_cache(stage, data)
    if isinstance(stage, CTDStage):
        return _plan_ctd(stage, data)
    if isinstance(stage, LMAStage):
        return plan_lma(stage, data, text_tokens)
    raise ConfigError(f"{type(stage).__name__} cannot be planned; give a config of the cache, CTD or LMA stage")


def _plan_cache(stage: CacheStage, data: VideoDataModule) -> StagePlan:
    vision, ratio = vision_config(stage.source)
    block = stage.compressor.block
    made_for = FrameSpec(frame_size(vision, block), default_clip(block[0]))
    settings = data.follow(made_for, source_name(stage.source))
    size, clip = settings.image_size, settings.clip_frames
    rows, columns = (side // patch for side, patch in zip(size, vision.patch_size, strict=True))
    check_blocks((clip, rows, columns), block)
    patches = clip * rows * columns
    kind = "WAP" if isinstance(stage.compressor, WAP) else stage.compressor.describe()["compressor"]
    points = with_shuffle({"patches": patches, f"after {kind}": patches // prod(block)}, ratio)
    clips, groups = -(-data.frames // clip), -(-data.frames // block[0])
    batch = BatchPlan(
        data.frames,
        data.batch_size,
        1.0,
        of_video(points, clips, groups / (clip // block[0])),
        {"teacher": clips * clip * vision_tower_flops(vision, size)},
        vision_tower_workspace(vision, data.batch_size * clips * clip, size),
        frames_bytes(data.batch_size * clips * clip, size),
    )
    target = Target(
        groups,
        (rows // block[1], columns // block[2]),
        vision.hidden_size,
        stage.target_dtype,
        float(groups * block[0] * 3 * prod(size)) if stage.store_frames else 0.0,
    )
    return StagePlan(
        "CacheStage", [source_name(stage.source)], points, [teacher_part(vision)], [batch], "predict", target
    )


def _ctd_size(stage: CTDStage, data: VideoDataModule) -> tuple[int, int]:
    """The store's where it is here, else the teacher's, unless the data say otherwise."""
    if data.store_path is not None and is_there(data.store_path):
        key = read_key(data.store_path)
        stage.require_targets_of(key, data.store_path)
        settings = data.follow_store(key)
        key.require({"clip_frames": settings.clip_frames, "decoder": settings.decoder}, data.store_path)
        return settings.image_size
    if stage.source is None:
        return data.settings.image_size
    made_for = FrameSpec(frame_size(vision_config(stage.source)[0], stage.compressor.block))
    return data.follow(made_for, source_name(stage.source)).image_size


def _plan_ctd(stage: CTDStage, data: VideoDataModule) -> StagePlan:
    config, size = stage.encoder_config, _ctd_size(stage, data)
    parts = [part("student", stage.encoder, trained=True)]
    teacher_flops, workspace, ratio = 0.0, 0.0, 0.5
    if stage.source is not None:
        vision, ratio = vision_config(stage.source)
        require_width(config, vision, source_name(stage.source))
    points, clip = student_points(config, size, ratio), config.clip_frames
    student = student_pass(config, size)
    if stage.source is not None and data.store_path is None:
        parts.append(teacher_part(vision))
        teacher_flops = vision_tower_flops(vision, size)
        workspace = vision_tower_workspace(vision, clip, size)
    batches = []
    for shape in data.shapes:
        clips = -(-shape.frames // clip)
        flops = {"student": clips * student.cost.training()}
        if teacher_flops:
            flops["teacher"] = clips * clip * teacher_flops
        # The teacher is done with its batch before the student begins.
        kept = shape.batch_size * clips * max(student.kept, workspace)
        tokens = of_video(points, clips, whole_clips(config, shape.frames))
        inputs = frames_bytes(shape.batch_size * clips * clip, size)
        batches.append(BatchPlan(shape.frames, shape.batch_size, shape.weight, tokens, flops, kept, inputs))
    read = [source_name(source) for source in (stage.source, data.store_path) if source]
    return StagePlan("CTDStage", read, points, parts, batches)
