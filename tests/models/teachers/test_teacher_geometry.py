"""What follows from a teacher's grid: WAP's block, the student's strides and sizes, and which frames are legal."""

from __future__ import annotations

import pytest
import torch

from liteframe.errors import ConfigError, GeometryError
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.student.from_teacher import fields_of_geometry
from liteframe.models.teachers import TeacherGeometry

INTERNVL = TeacherGeometry(1024, 14, 448)
SIGLIP_27 = TeacherGeometry(1152, 14, 384)
DINO_37 = TeacherGeometry(1024, 14, 518)
SIGLIP_16 = TeacherGeometry(768, 16, 256)
QWEN = TeacherGeometry(3584, 14, None, frames=2, merge=2)


def test_the_block_makes_one_token_of_four_frames_and_two_by_two_patches() -> None:
    for geometry in (INTERNVL, SIGLIP_27, DINO_37, SIGLIP_16):
        assert geometry.block() == (4, 2, 2)
    assert QWEN.block() == (2, 1, 1), "a token is two frames and 2 x 2 patches already"
    with pytest.raises(ConfigError, match=r"spans 3 frames.*give model\.block"):
        TeacherGeometry(8, 14, frames=3).block()


def test_the_student_of_internvl3_is_the_papers() -> None:
    papers = LiteFrameConfig().to_dict()
    followed = fields_of_geometry(INTERNVL, INTERNVL.block())
    assert followed == {name: papers[name] for name in followed} and "image_size" in followed


@pytest.mark.parametrize(
    ("geometry", "image_size"), [(INTERNVL, 448), (SIGLIP_27, 392), (DINO_37, 532), (SIGLIP_16, 256), (QWEN, None)]
)
def test_grids_of_odd_sides_are_enlarged_to_the_next_legal_one(
    geometry: TeacherGeometry, image_size: int | None
) -> None:
    config = LiteFrameConfig(**fields_of_geometry(geometry, geometry.block()))
    assert config.image_size == (image_size or LiteFrameConfig().image_size)
    assert (config.patch_size, config.output_size) == (geometry.patch_size, geometry.width)


@pytest.mark.parametrize("block", [(4, 2, 2), (2, 2, 2), (1, 2, 2), (2, 1, 1), (8, 1, 2), (3, 2, 2)])
@pytest.mark.parametrize("geometry", [TeacherGeometry(20, 14, 27), TeacherGeometry(20, 14, None, 2, 2)])
def test_a_token_of_the_student_stands_for_a_block_of_the_teacher(
    geometry: TeacherGeometry, block: tuple[int, int, int]
) -> None:
    """Whatever the block: on the same frames both make the same grid."""
    fields = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LiteFrameConfig(**{"image_size": 112, **fields_of_geometry(geometry, block, [1, 2]), **fields})
    frames, height, width = (2 * side for side in geometry.cell(block))
    grid = geometry.grid(frames, height, width)
    pooled = tuple(size // step for size, step in zip(grid, block, strict=True))
    out = LiteFrameEncoder(config)(torch.zeros(1, frames, 3, height, width)).last_hidden_state
    assert tuple(out.shape) == (1, *pooled, 20) and pooled == (2, 2, 2)


def test_frames_that_blocks_do_not_fill_are_refused_with_the_nearest_sizes() -> None:
    assert SIGLIP_27.grid(4, 378, 378) == (4, 27, 27)
    for geometry, size, legal in ((SIGLIP_27, 378, "364 or 392"), (DINO_37, 518, "504 or 532"), (QWEN, 450, "448 or")):
        with pytest.raises(ConfigError, match=rf"data\.image_size: .*height {size} is .* {legal}"):
            geometry.require_size((size, size), geometry.block(), "data.image_size")
    with pytest.raises(GeometryError, match=r"width 384 is not a multiple of 14 px \(nearest legal: 378 or 392\)"):
        SIGLIP_27.grid(4, 378, 384)
    for geometry in (INTERNVL, SIGLIP_27, SIGLIP_16, QWEN):
        geometry.require_size((448, 224), geometry.block(), "data.image_size")


def test_a_store_says_which_geometry_it_was_made_with() -> None:
    for geometry in (INTERNVL, SIGLIP_16, QWEN):
        again = TeacherGeometry.of_store(geometry.width, geometry.describe(), 14)
        assert again.cell((2, 1, 1)) == geometry.cell((2, 1, 1))
    assert INTERNVL.describe() == {"patch_size": 14}, "the key of stores that were made before there were others"
