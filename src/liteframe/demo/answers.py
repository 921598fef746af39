"""One question to one or two models, one after the other, and WAP's weights over the frames that they looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from liteframe.chat.answer import Answer
from liteframe.chat.model import ChatModel, Watch
from liteframe.data.decoding.containers.cut_short import CutShort
from liteframe.data.decoding.read_video import probe_video, read_video
from liteframe.data.sampling import FrameSampler, UniformMidpoints
from liteframe.data.transforms import resize_uint8
from liteframe.errors import LiteFrameError, as_one_line
from liteframe.models.backbone import WAP
from liteframe.models.teachers import Teacher
from liteframe.system.cancellation import Cancellation

_USUAL_FRAMES = 64
_MOST_BLOCKS = 8
_WARM_FRAMES, _WARM_TOKENS = 8, 2


@dataclass(frozen=True)
class Subject:
    """A model that is asked.

    Attributes:
        title: what it is called on the page.
        model: answers.
    """

    title: str
    model: ChatModel


@dataclass(frozen=True)
class Reply:
    """What one model has said so far.

    Attributes:
        title: of the model.
        text: of the answer.
        answer: the whole of it, with what it took; None before its end.
        error: why there is none.
    """

    title: str
    text: str = ""
    answer: Answer | None = None
    error: str | None = None


@dataclass(frozen=True)
class Weights:
    """WAP's weights over some blocks of a video's frames.

    Attributes:
        frames_THWC: uint8, as the teacher saw them; whole blocks, the last one filled up by its last frame.
        weights_THW: of every token; those of a block sum to 1.
        times_s: second of the video of each frame; None where it is not known.
        block: frames, rows and columns.
        blocks_in_all: blocks of frames that there are, of which evenly chosen ones are here.
    """

    frames_THWC: Tensor
    weights_THW: Tensor
    times_s: list[float] | None
    block: tuple[int, int, int]
    blocks_in_all: int


@dataclass(frozen=True)
class Shown:
    """All that the page shows of a question.

    Attributes:
        replies: one for each model.
        weights: of WAP, where there is a teacher.
        note: what is to be known of the video.
        error: why there is no more.
    """

    replies: list[Reply] = field(default_factory=list)
    weights: Weights | None = None
    note: str | None = None
    error: str | None = None


class Watcher:
    """Asks the models.

    Args:
        subjects: the models; all look at the frames that the first chooses.
        wap: whose weights are shown of the first of them that is an image encoder before an LLM; its block is made to
            fit that.
        max_tokens: of an answer.
    """

    def __init__(self, subjects: Sequence[Subject], wap: WAP, max_tokens: int) -> None:
        self.subjects, self.max_tokens = list(subjects), max_tokens
        made_for = subjects[0].model.model.frames
        self.usual_frames = made_for.most_frames or _USUAL_FRAMES
        self._sampler: FrameSampler = made_for.sampler or UniformMidpoints()
        self._wap, self._is_warm = wap, False

    def ask(
        self, video: str | None, question: str, frames: int, cancellation: Cancellation | None = None
    ) -> Iterator[Shown]:
        """What there is to show, whenever there is more of it; nothing is raised for what the user can mend.

        The models answer one after the other, so that none waits for another's work.

        Args:
            video: a file.
            question: in words that the models know.
            frames: to look at.
            cancellation: ends it from another thread.

        Raises:
            Cancelled: by `cancellation`.
        """
        if not video:
            yield Shown(error="Choose a video, or record one, and ask again.")
            return
        if not question.strip():
            yield Shown(error="Type a question about the video.")
            return
        shown = Shown([Reply(subject.title) for subject in self.subjects])
        yield shown
        watch: Watch = {"frames": frames, "sampler": self._sampler}
        try:
            probe_video(video)
        except CutShort:  # Gradio ends a recording before it has all of it
            watch["truncated"] = "use"
            cut = "is cut short, as recordings of this page's camera are; what is there of it was looked at."
            shown = replace(shown, note=f"{Path(video).name} {cut}")
        except LiteFrameError as error:
            yield Shown(error=_words(error, video))
            return
        self._warm_up(video, question.strip(), watch, cancellation)
        for place, subject in enumerate(self.subjects):
            for reply in self._reply(subject, video, question.strip(), watch, cancellation):
                shown = replace(shown, replies=[*shown.replies[:place], reply, *shown.replies[place + 1 :]])
                yield shown
        teacher = _teacher(self.subjects)
        if teacher is None or all(reply.error for reply in shown.replies):
            return
        try:
            yield replace(shown, weights=weigh(teacher, self._wap, video, watch))
        except (LiteFrameError, torch.OutOfMemoryError) as error:
            yield replace(shown, error=f"WAP's weights cannot be shown: {_words(error, video)}")

    def _warm_up(self, video: str, question: str, watch: Watch, cancellation: Cancellation | None) -> None:
        """Has every model answer once, of a few frames: what it sets up for that is no part of the answers' time."""
        if self._is_warm:
            return
        few: Watch = {**watch, "frames": min(watch["frames"] or _WARM_FRAMES, _WARM_FRAMES)}
        with suppress(LiteFrameError, torch.OutOfMemoryError):  # said where it is asked for
            for subject in self.subjects:
                subject.model.answer(video, question, _WARM_TOKENS, cancellation, **few)
            self._is_warm = True

    def _reply(
        self, subject: Subject, video: str, question: str, watch: Watch, cancellation: Cancellation | None
    ) -> Iterator[Reply]:
        reply = Reply(subject.title)
        try:
            talk = subject.model.chat(video, cancellation, **watch)
            for piece in talk.stream(question, self.max_tokens, cancellation):
                reply = replace(reply, text=reply.text + piece)
                yield reply
            yield replace(reply, answer=talk.last)
        except (LiteFrameError, torch.OutOfMemoryError) as error:
            yield replace(reply, error=_words(error, video))


def _words(error: Exception, video: str) -> str:
    """What went wrong, with the file as its owner calls it instead of where its copy lies."""
    if isinstance(error, torch.OutOfMemoryError):
        return "the GPU's memory is full; look at fewer frames"
    return as_one_line(str(error)).replace(video, Path(video).name)


@torch.inference_mode()
def _teacher(subjects: Sequence[Subject]) -> ChatModel | None:
    """The first of the models that is an image encoder before an LLM; None where all have a student."""
    return next((each.model for each in subjects if isinstance(each.model.model.backbone, Teacher)), None)


def usual_saliency(subjects: Sequence[Subject]) -> str:
    """WAP's importance score for the models: the class token, or the norm of tokens where their teacher has none."""
    teacher = _teacher(subjects)
    backbone = None if teacher is None else teacher.model.backbone
    return "norm" if isinstance(backbone, Teacher) and "class_token" not in backbone.saliencies else "class_token"


def weigh(chat: ChatModel, wap: WAP, video: str, watch: Watch) -> Weights:
    """WAP's weights over the frames of a video, of the tokens of a teacher in a Video LLM.

    Args:
        chat: whose backbone is a `Teacher`.
        wap: its block is replaced by that which compresses as much as the paper's.
        video: a file.
        watch: which of its frames, as the models are told.

    Raises:
        DecodeError: the file cannot be read.
        ConfigError: WAP needs what the teacher does not have.
    """
    teacher = chat.model.backbone
    assert isinstance(teacher, Teacher)
    made_for = chat.model.frames.image_size
    assert made_for is not None, "every encoder of a Video LLM has a size"
    wap = replace(wap, block=teacher.geometry.block())
    size = teacher.geometry.filled_size(made_for, wap.block)
    seen = read_video(video, watch["frames"], watch["sampler"], size=size, truncated=watch.get("truncated", "error"))
    spanned = teacher.geometry.frames
    T, t = len(seen.frames_THWC), wap.block[0] * spanned
    blocks = -(-T // t)
    shown = min(blocks, _MOST_BLOCKS)
    chosen = [(2 * number + 1) * blocks // (2 * shown) for number in range(shown)]
    places = [min(place, T - 1) for block in chosen for place in range(block * t, (block + 1) * t)]
    frames_THWC = torch.from_numpy(seen.frames_THWC[places])
    weights = []
    for block_THWC in frames_THWC.split(t):
        frames_BTCHW = resize_uint8(block_THWC.numpy(), size).to(chat.device)[None]
        with torch.autocast(chat.device.type, chat.dtype, enabled=chat.dtype is not None):
            vision = teacher(frames_BTCHW)
        # Frames of one token share its weight.
        weights.append(wap.weights(vision)[0].float().cpu().repeat_interleave(spanned, dim=0) / spanned)
    times = None if seen.times_s is None else [float(seen.times_s[place]) for place in places]
    return Weights(frames_THWC, torch.cat(weights), times, (t, *wap.block[1:]), blocks)
