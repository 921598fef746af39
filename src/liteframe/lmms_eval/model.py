"""The model ``liteframe`` of lmms-eval: videos are decoded and encoded as `liteframe.load` does, answers are greedy."""

from __future__ import annotations

import sys
from typing import Any

import torch
from accelerate import Accelerator
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from tqdm import tqdm

from liteframe.chat.loading import load
from liteframe.chat.model import Watch
from liteframe.chat.video_chat import Seen, VideoChat
from liteframe.errors import DataError, as_one_line
from liteframe.lmms_eval.messages import Asked, Wanted, read_messages, read_settings
from liteframe.lmms_eval.model_args import ModelArgs
from liteframe.models.video_llm.generation import prompt_ids, room_for_answer


class LiteFrame(lmms):
    """Answers one question about one video at a time; a video is read once for all questions about it.

    Args:
        model_args: see `ModelArgs`; lmms-eval adds `batch_size` and `device`.

    Raises:
        ConfigError: an argument makes no sense, or there is no such model.
    """

    is_simple = False

    def __init__(self, **model_args: Any) -> None:
        super().__init__()
        args = ModelArgs.of(model_args)
        self.accelerator = Accelerator()
        self._rank, self._world_size = self.accelerator.process_index, self.accelerator.num_processes
        own_gpu = args.device in ("auto", "cuda") and self.accelerator.device.type == "cuda"
        device = str(self.accelerator.device) if own_gpu else args.device
        self._chat = load(args.pretrained, device, args.dtype, args.attention, args.engine)
        self._watch: Watch = {
            "frames": args.frames,
            "sampler": args.frame_sampler(),
            "image_size": args.image_size,
        }
        self._last: tuple[tuple[str, float, float], Seen | DataError] | None = None

    @property
    def device(self) -> torch.device:
        """Where the model is, and where lmms-eval gathers what its processes count."""
        return self._chat.device

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Answers in the order of the requests.

        A video that cannot be read, or a question that cannot be asked or runs out of memory, gets an empty answer and
        a line on stderr, as other models of lmms-eval do it.

        Raises:
            ConfigError: a task asks for what the model does not do.
            DataError: not one question could be asked.
        """
        wanted = [read_settings(settings, task) for _, _, settings, _, task, _ in (each.args for each in requests)]
        asked = {index: one for index, request in enumerate(requests) if (one := self._asked(request)) is not None}
        answers = [""] * len(requests)
        failed = len(requests) - len(asked)
        # Questions about one video one after the other, wherever they stand.
        for index in tqdm(sorted(asked, key=lambda index: asked[index].stretch), "liteframe", disable=self.rank != 0):
            context, _, settings, doc_id, task, _ = requests[index].args
            why = None
            try:
                answers[index] = self._answer(asked[index], wanted[index], f"{task} {doc_id}")
            except (DataError, torch.OutOfMemoryError) as error:
                why = as_one_line(str(error))
                if not isinstance(error, DataError):
                    self._last = None  # it may have broken off anywhere in the video
            if why is None:
                self.cache_hook.add_partial("generate_until", (context, settings), answers[index])
                continue
            failed += 1
            _say(f"{task} {doc_id}: empty answer: {why}")
            if torch.cuda.is_available():
                torch.cuda.empty_cache()  # the next question may not need what this one ran out of
        if failed:
            _say(f"{failed} of {len(requests)} questions have an empty answer, for the reasons above")
        if requests and failed == len(requests) and self.world_size == 1:
            raise DataError(f"none of {len(requests)} questions could be asked, for the reasons above")
        return answers

    def _asked(self, request: Instance) -> Asked | None:
        """What a request asks; None where the task ends the whole run over a video that is not there."""
        _, doc_to_messages, _, doc_id, task, split = request.args
        try:
            return read_messages(doc_to_messages(self.task_dict[task][split][doc_id]), task)
        except SystemExit as ending:
            _say(f"{task} {doc_id}: empty answer: {ending}")
            return None

    def _answer(self, asked: Asked, wanted: Wanted, name: str) -> str:
        seen, model = self._seen(asked), self._chat.model
        if isinstance(seen, DataError):
            raise seen
        prompt = len(prompt_ids(model, seen.visual_BTNC, asked.question, seen.groups))
        most = room_for_answer(model, prompt, wanted.max_tokens)
        answer = VideoChat(model, seen, self._chat.dtype).ask(asked.question, most)
        if answer.answer_tokens == most < wanted.max_tokens:
            _say(f"{name}: its answer ends behind {most} tokens, where the LLM takes no more")
        return wanted.cut(answer.text)

    def _seen(self, asked: Asked) -> Seen | DataError:
        """The video, or why it cannot be read; kept for the next question about it."""
        if self._last is None or self._last[0] != asked.stretch:
            self._last = None  # before the next one needs its memory
            watch: Watch = {**self._watch, "start": asked.start_s, "end": asked.end_s}
            try:
                self._last = (asked.stretch, self._chat.watch(asked.video, **watch))
            except DataError as error:
                self._last = (asked.stretch, error)
        return self._last[1]

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Not done: lmms-eval has no such tasks for models that take messages."""
        raise NotImplementedError(
            "liteframe has no loglikelihood in lmms-eval; liteframe evaluate --answer likelihood scores options so"
        )

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        """Not done."""
        raise NotImplementedError("liteframe answers single turns in lmms-eval; choose tasks of one round")


def _say(line: str) -> None:
    tqdm.write(f"liteframe: {line}", file=sys.stderr)
