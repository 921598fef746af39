"""Teachers that encode a video clip by clip: every token depends on its whole clip."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from liteframe.models.teachers.geometry import TeacherGeometry
from liteframe.models.teachers.teacher import Teacher, TeacherSource, TransformersTeacher


class ClipTeacher(TransformersTeacher):
    """A video encoder: the tokens of a clip depend on all of its frames, and on no others.

    A video is encoded clip by clip. Clips that only fill up a batch change no token of the video, but the stills that
    fill up its own last clip are seen by the frames in it: best is a number of frames that is a multiple of the clip's.
    `geometry_of` gives the clip that it was trained on, `ClipTeacherSource.clip_frames` another.

    Args: as `TransformersTeacher`.
    """

    frame_wise = False
    processor = "video_processor"

    def clips_of(self, frames_BTCHW: Tensor) -> Tensor:
        """Clips (N, clip_frames, C, H, W), those of a video one after the other."""
        return frames_BTCHW.unflatten(1, (-1, self.geometry.clip_frames)).flatten(0, 1)


class ClipTeacherSource(TeacherSource):
    """Where a `ClipTeacher` comes from."""

    teacher: ClassVar[type[ClipTeacher]]
    clip_frames: int | None

    def geometry(self) -> TeacherGeometry:
        return self._in_clips(super().geometry())

    def load(self, attention: str | None = None) -> Teacher:
        teacher = super().load(attention)
        teacher.geometry = self._in_clips(teacher.geometry)
        return teacher

    def _in_clips(self, geometry: TeacherGeometry) -> TeacherGeometry:
        if self.clip_frames is None:
            return geometry
        return geometry.in_clips_of(self.clip_frames, "model.teacher.clip_frames")
