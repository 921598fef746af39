"""What the sample entries of MP4 files say of pictures."""

from __future__ import annotations

from pathlib import Path

import av
from painted_videos import write_video
from remuxed_videos import with_box

from liteframe.data.decoding.containers.mp4_entries import dolby_vision_profile


def test_the_profile_of_dolby_vision(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 12)
    with path.open("rb") as file:
        assert dolby_vision_profile(file, 1) is None
    path.write_bytes(with_box(path.read_bytes(), b"dvcC", bytes([1, 0, 5 << 1, 13]) + bytes(20)))
    with path.open("rb") as file, av.open(str(path)) as container:
        assert dolby_vision_profile(file, container.streams.video[0].id) == 5
