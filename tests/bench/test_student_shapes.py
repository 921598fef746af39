"""The shapes whose costs are measured are those whose accuracy is."""

from __future__ import annotations

import student_shapes
from liteframe.models.student.encoder import LiteFrameEncoder
from report import students


def test_every_shape_of_the_page_is_measured() -> None:
    assert set(student_shapes.encoders()) == set(students.told())


def test_what_a_cell_changes_is_in_its_student() -> None:
    found = student_shapes.encoders()
    assert found["narrow"].early_hidden_sizes == [32, 96] and found["paper"].early_hidden_sizes is None
    assert found["tubelet"].stride == found["paper"].stride == (4, 2, 2)
    assert len(LiteFrameEncoder(found["narrow-middle"]).blocks) == 4


def test_rows_have_the_operations_of_a_frame() -> None:
    """Of the first matrix products, the patch embedding's are a share that is counted by hand here."""
    rows = {row["shape"]: row for row in student_shapes.measured(seconds=0.01)}
    config = student_shapes.encoders()["paper"]
    patches = (config.image_size // config.patch_size) ** 2
    pixels = 2 * patches * 3 * config.patch_size**2 * config.hidden_size
    assert rows["paper"]["mflops_per_frame"] * 1e6 > pixels
    assert rows["teacher"]["mflops_per_frame"] > rows["large"]["mflops_per_frame"] > rows["paper"]["mflops_per_frame"]
    assert rows["paper"]["parameters"] == sum(w.numel() for w in LiteFrameEncoder(config).parameters())
