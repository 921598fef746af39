"""`liteframe evaluate` shows a model what `liteframe chat` shows it, and hears the same of it.

Chat encodes frames as they come, evaluation a video after the other while the next ones are decoded.
"""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest

import liteframe
from evaluating import Pool, decoding_in_process
from liteframe.data.sampling import UniformMidpoints
from liteframe.evaluation.frames import FrameReader, SampledFrames, Stretch
from liteframe.evaluation.subject import EvaluatedModel
from liteframe.evaluation.subject_loading import load_subject
from liteframe.evaluation.talk import Talk, Turn
from liteframe.evaluation.watching import Watched
from llava_world import llava_folder, llava_lma_folder
from qwen3_world import qwen3_folder, qwen3_lma_folder
from tiny_world import host_folder, lma_run_folder, manifest

QUESTION = "color of the star"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "source",
    [
        lambda: lma_run_folder() / "export",
        host_folder,
        lambda: qwen3_lma_folder() / "export",
        qwen3_folder,
        lambda: llava_lma_folder() / "export",
        llava_folder,
    ],
    ids=["student", "teacher", "student of a Qwen3-VL", "Qwen3-VL", "student of a LLaVA", "LLaVA"],
)
def test_the_same_tokens_and_the_same_words(source: object, dtype: str) -> None:
    folder = Path(source())  # type: ignore[operator]
    video = next((manifest("test").parent / "test").glob("*.mp4"))
    counts = (1, 13, 70)
    with decoding_in_process(), mock.patch("liteframe.chat.model.DecodePool", Pool):
        chat = liteframe.load(folder, "cpu", dtype)
        subject = EvaluatedModel(load_subject(str(folder)), "cpu", dtype)
        size = chat.model.frames.image_size
        assert size is not None
        (sampled,) = FrameReader(video.parent, UniformMidpoints(), counts, size).read(Stretch(video.name))
        assert isinstance(sampled, SampledFrames)
        watched = Watched(subject, sampled, None)
        for count in counts:
            talk = chat.chat(video, frames=count, sampler=UniformMidpoints())
            shown = watched.shown(count)
            seen_MC = talk._seen.visual_BTNC.flatten(0, 2)
            limit = 1e-5 if dtype == "float32" else 1e-2
            found_MC = shown.visual[0, 0].float()
            assert float((found_MC - seen_MC.float()).abs().max() / seen_MC.float().abs().max()) < limit
            video_text = subject.prompts.wording.lines_text(shown.lines, shown.groups)
            said = Talk(subject, shown).ask(Turn(video_text, QUESTION, ()), 6)
            answer = talk.ask(QUESTION, 6).text
            if (source, dtype) != (llava_folder, "bfloat16"):  # its random weights make answers of rounding errors
                assert said.text == answer
            assert talk.last is not None and said.prompt_tokens == talk.last.prompt_tokens
