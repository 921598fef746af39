"""The shapes whose costs are measured are those whose accuracy is."""

from __future__ import annotations

import student_shapes
from liteframe.models.student.encoder import LiteFrameEncoder
from report import students


def test_every_shape_of_the_page_is_measured() -> None:
    assert set(student_shapes.configs()) == set(students.labels())


def test_what_a_cell_changes_is_in_its_student() -> None:
    configs = student_shapes.configs()
    assert configs["narrow"].early_hidden_sizes == [32, 96] and configs["paper"].early_hidden_sizes is None
    assert configs["tubelet"].stride == configs["paper"].stride == (4, 2, 2)
    assert len(LiteFrameEncoder(configs["narrow-middle"]).blocks) == 4


def test_rows_have_the_operations_of_a_frame() -> None:
    """A frame's: at least those of the patch embedding, at most those of all weights at every patch, and attention."""
    rows = {row["shape"]: row for row in student_shapes.measured(seconds=0.01)}
    config = student_shapes.configs()["paper"]
    patches = (config.image_size // config.patch_size) ** 2
    pixels = 2 * patches * 3 * config.patch_size**2 * config.hidden_size
    clip = config.clip_frames * patches
    most = (
        2 * patches * rows["paper"]["parameters"] + config.num_hidden_layers * 4 * clip * patches * config.hidden_size
    )
    assert pixels < rows["paper"]["mflops_per_frame"] * 1e6 < most
    assert rows["teacher"]["mflops_per_frame"] > rows["large"]["mflops_per_frame"] > rows["paper"]["mflops_per_frame"]
    assert rows["paper"]["parameters"] == sum(w.numel() for w in LiteFrameEncoder(config).parameters())
