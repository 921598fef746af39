"""From a request to its answer: videos are decoded side by side, and the LLM gives one answer at a time."""

from __future__ import annotations

import asyncio
import tempfile
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from liteframe.chat.model import ChatModel
from liteframe.chat.video_chat import Seen
from liteframe.errors import DecodeError, LiteFrameError
from liteframe.models.video_llm.generation import answer_prompt, require_room
from liteframe.models.video_llm.generation import room_for_answer as room_for
from liteframe.models.video_llm.text_stream import TextStream
from liteframe.models.video_llm.token_choice import Choice, Sampled, likeliest
from liteframe.serving.media import LocalVideo, MediaPolicy
from liteframe.serving.refusal import Refusal, stopping
from liteframe.serving.request import ChatRequest
from liteframe.serving.stop_text import StopText
from liteframe.system.cancellation import Cancellation
from liteframe.system.daemon_workers import DaemonWorkers

_RETRY_AFTER_S = 5


@dataclass(frozen=True)
class Limits:
    """What a request may ask for.

    Args:
        frames, fps: of a video where a request does not say; None as `ChatModel.watch`.
        max_frames: of a video.
        max_videos: of a request.
        max_tokens: of an answer where a request does not say.
        max_requests: that are answered or wait to be at a time; further ones are turned away.
        remembered_bytes: of encoded videos, kept for further questions about them.
    """

    frames: int | None = None
    fps: float | None = None
    max_frames: int = 512
    max_videos: int = 8
    max_tokens: int = 256
    max_requests: int = 64
    remembered_bytes: int = 256 << 20


@dataclass(frozen=True)
class Prompt:
    """What the LLM is asked, and how it is to answer."""

    ids: list[int]
    visuals: list[Tensor]
    max_tokens: int
    choose: Choice
    stops: list[str]


@dataclass
class Ending:
    """How an answer ended: `reason` as OpenAI's API has it, and its tokens without the one that ends it."""

    reason: str
    tokens: int


class AnswerService:
    """Answers chat requests; all but the work in its threads is done on the event loop.

    Args:
        chat: the model.
        media: where videos may come from.
        limits: of requests.
        watchers: videos that are decoded and encoded at a time.

    Attributes:
        stopped: set once the server ends without waiting for answers any longer.
    """

    def __init__(self, chat: ChatModel, media: MediaPolicy, limits: Limits, watchers: int) -> None:
        self._chat, self._media, self.limits = chat, media, limits
        self._watchers = DaemonWorkers(watchers, "watch")
        self._writer, self._answerer = DaemonWorkers(1, "prompt"), DaemonWorkers(1, "answer")
        self._seen = _Remembered(limits.remembered_bytes)
        self._places = 0
        self._answers: set[asyncio.Queue[Any]] = set()
        self.stopped = asyncio.Event()

    def stop(self) -> None:
        """Ends what is under way with a refusal."""
        self.stopped.set()
        for pieces in self._answers:
            pieces.put_nowait(stopping())

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Cancellation]:
        """A place among the requests; once it is left, work that goes on for it is cancelled.

        Raises:
            Refusal: all are taken.
        """
        if self._places >= self.limits.max_requests:
            message = f"{self._places} requests are answered or wait; ask again later"
            raise Refusal(503, message, retry_after_s=_RETRY_AFTER_S)
        self._places += 1
        cancellation = Cancellation()
        try:
            yield cancellation
        finally:
            cancellation.cancel()
            self._places -= 1

    async def prompt(self, request: ChatRequest, cancellation: Cancellation) -> Prompt:
        """Watches the videos of a request and writes its prompt.

        Raises:
            Refusal: a field cannot be followed, or a video cannot be had or read.
            LiteFrameError: the model cannot take it.
        """
        named = list(request.videos())
        if len(named) > self.limits.max_videos:
            raise Refusal(400, f"messages: {len(named)} videos; this server takes {self.limits.max_videos} a request")
        watch = self._watch(request)
        with tempfile.TemporaryDirectory(prefix="liteframe-serve-", ignore_cleanup_errors=True) as folder:
            tasks = [
                asyncio.ensure_future(self._see(field, url, watch, Path(folder, str(index)), cancellation))
                for index, (field, url) in enumerate(named)
            ]
            try:
                seen = await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
        videos = [
            (one.visual_BTNC.shape[1] if one.groups is None else one.groups, one.visual_BTNC.shape[2]) for one in seen
        ]
        model = self._chat.model
        ids = await self._writer.run(lambda: model.prompts.dialogue_ids(request.template_messages(), videos))
        asked = request.answer_tokens
        if asked is None:
            asked = room_for(model, len(ids), self.limits.max_tokens)
        require_room(model, len(ids), asked)
        return Prompt(ids, [one.visual_BTNC for one in seen], asked, _choice(request), request.stop or [])

    async def answer(self, prompt: Prompt, cancellation: Cancellation) -> AsyncGenerator[str | Ending, None]:
        """Pieces of the answer as they come, then how it ended. Raises LiteFrameError where the model fails, and
        Refusal where the server stops."""
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[str | Ending | Refusal | None] = asyncio.Queue()

        def put(piece: str | Ending) -> None:
            if not cancellation.is_set:
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        work = asyncio.ensure_future(self._answerer.run(lambda: self._generate(prompt, put, cancellation)))
        work.add_done_callback(lambda _: pieces.put_nowait(None))
        self._answers.add(pieces)
        try:
            while (piece := await pieces.get()) is not None:
                if isinstance(piece, Refusal):
                    raise piece
                yield piece
            await work
        finally:
            self._answers.discard(pieces)
            work.cancel()

    def _generate(self, prompt: Prompt, put: Any, cancellation: Cancellation) -> None:
        model = self._chat.model
        text, stop, count = TextStream(model.prompts.tokenizer), StopText(prompt.stops), 0
        for token in answer_prompt(
            model, prompt.ids, prompt.visuals, prompt.max_tokens, self._chat.dtype, prompt.choose, cancellation
        ):
            cancellation.check()
            count += 1
            if piece := stop.push(text.push(token)):
                put(piece)
            if stop.met:
                break
        if piece := stop.push(text.finish()) + stop.finish():
            put(piece)
        put(Ending("length" if count == prompt.max_tokens and not stop.met else "stop", count))

    def _watch(self, request: ChatRequest) -> dict[str, Any]:
        """How the videos are looked at, as `ChatModel.watch` takes it."""
        asked, limits = request.watching, self.limits
        frames = limits.frames if asked.num_frames is None else asked.num_frames
        if frames is None and (self._chat.model.frames.most_frames or 0) > limits.max_frames:
            frames = limits.max_frames
        if frames is not None and frames > limits.max_frames:
            raise Refusal(
                400, f"num_frames is {frames}; this server takes {limits.max_frames} of a video", "num_frames"
            )
        fps = asked.fps if asked.fps is not None or asked.num_frames is not None else limits.fps
        return {"frames": frames, "fps": fps, "start": asked.start, "end": asked.end}

    async def _see(self, field: str, url: str, watch: dict[str, Any], folder: Path, cancellation: Cancellation) -> Seen:
        folder.mkdir()
        video = await self._media.local(url, field, folder)
        key = (video.identity, *watch.values())
        if (seen := self._seen.get(key)) is None:
            seen = await self._watchers.run(lambda: self._watched(video, field, watch, cancellation))
            self._seen.put(key, seen)
        return seen

    def _watched(self, video: LocalVideo, field: str, watch: dict[str, Any], cancellation: Cancellation) -> Seen:
        cancellation.check()
        try:
            return self._chat.watch(video.path, cancellation, **watch)
        except DecodeError as error:
            raise Refusal(400, f"{field}: {error.reason}", field) from None
        except LiteFrameError as error:
            raise Refusal(400, f"{field}: {error}", field) from None


def _choice(request: ChatRequest) -> Choice:
    if not request.temperature:
        return likeliest
    top_k = request.top_k if request.top_k and request.top_k > 0 else None
    return Sampled(request.temperature, top_k, request.top_p, request.seed)


class _Remembered:
    """Encoded videos, those that were asked for last, up to a number of bytes."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._bytes = most_bytes, 0
        self._kept: OrderedDict[Hashable, Seen] = OrderedDict()

    def get(self, key: Hashable) -> Seen | None:
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: Hashable, seen: Seen) -> None:
        if seen.visual_BTNC.nbytes > self._most:
            return
        if key not in self._kept:
            self._kept[key] = seen
            self._bytes += seen.visual_BTNC.nbytes
        while self._bytes > self._most:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.visual_BTNC.nbytes
