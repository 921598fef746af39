"""Accuracy on videos 16 times as long as those trained on, by what a bounded memory forgets.

python benchmarks/stream.py RUN=WORLD RUN=WORLD RUN=WORLD --output benchmarks/records/stream.json
python benchmarks/stream.py runs/tiny/lma/export=runs/tiny/world --videos 5 --budgets 8      # a trial

RUN is what LMA exported and WORLD the tiny world that it was trained on, from whose seed the long videos are drawn.
Events are as short as in held-out videos, the rest is 16 times as long. Each video is written as H.264, read as
`liteframe chat --stream` reads it, and encoded once; then each memory is asked the same questions: when the video is
over, and at half of it about what has happened by then. All have the same budget of clips but for `everything`, which
holds all. `evenly spaced` knows how long the video will be, and takes frames as `liteframe chat` does of a file.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from liteframe.bench.environment import environment
from liteframe.bench.records import write_record
from liteframe.data.decoding.live.reading import LiveFrame, LiveSettings, live_frames
from liteframe.data.decoding.live.source import LiveSource
from liteframe.data.transforms import normalize, resize_uint8
from liteframe.evaluation.answering import option_ids
from liteframe.evaluation.multiple_choice import MultipleChoiceAccuracy
from liteframe.hf.loading import load_video_llm
from liteframe.models.clip_chunks import CLIPS_AT_ONCE
from liteframe.models.video_llm import clip_memory
from liteframe.models.video_llm.clip_memory import ClipMemory, Remembered
from liteframe.models.video_llm.model import VideoLLM
from liteframe.system.progress import track
from liteframe.system.tables import markdown
from liteframe.tiny import synthetic
from liteframe.tiny.synthetic_files import write_video

TIMES = 16
WHEN = {"at half": 0.5, "at the end": 1.0}
_STREAM = 16
"""Of random numbers, so that no long video is one of the world's."""
Clips = Sequence[Tensor]


_shipped = clip_memory.cheapest_pair


def by_age(differences: Sequence[float], groups: Sequence[int]) -> int:
    """As `cheapest_pair`, whatever the difference: resolution falls with age alone."""
    return _shipped([1.0] * len(differences), groups)


def by_loss(differences: Sequence[float], groups: Sequence[int]) -> int:
    """As `cheapest_pair`, whatever the age."""
    losses = [d * a * b / (a + b) for d, a, b in zip(differences, groups[:-1], groups[1:], strict=True)]
    return min(range(len(losses)), key=losses.__getitem__)


def mean_of(before: Remembered, after: Remembered) -> Remembered:
    """Two neighbours as their mean."""
    groups = before.groups + after.groups
    tokens_HWC = (before.tokens_HWC * before.groups + after.tokens_HWC * after.groups) / groups
    return Remembered(tokens_HWC, groups, before.start_s, after.end_s)


def newest_of(before: Remembered, after: Remembered) -> Remembered:
    """Two neighbours as the one that more groups of frames are behind."""
    kept = before if before.groups > after.groups else after
    return Remembered(kept.tokens_HWC, before.groups + after.groups, before.start_s, after.end_s)


def held_by(clips: Clips, budget: int, forget: Any = "merge", **rules: Callable[..., Any]) -> Tensor:
    """What a memory holds after clips, with parts of `clip_memory` in place of its own."""
    with ExitStack() as stack:
        for name, rule in rules.items():
            stack.enter_context(mock.patch.object(clip_memory, name, rule))
        memory = ClipMemory(budget, forget)
        for number, tokens_HWC in enumerate(clips):
            memory.add(tokens_HWC, float(number), float(number))
    return memory.tokens()


METHODS: dict[str, Callable[[Clips, int], Tensor]] = {
    "window": partial(held_by, forget="window"),
    "merge": held_by,
    "merge, by age alone": partial(held_by, cheapest_pair=by_age),
    "merge, by loss alone": partial(held_by, cheapest_pair=by_loss),
    "merge, mean for WAP": partial(held_by, merged=mean_of),
    "merge, one of the two": partial(held_by, merged=newest_of),
}
EVEN, ALL = "evenly spaced", "everything"


def draw(seed: int, number: int, times: int) -> tuple[synthetic.Scene, list[dict[str, Any]]]:
    """A long scene with its questions."""
    rng = np.random.default_rng([seed, _STREAM, number])
    scene = synthetic.draw_scene(rng, synthetic.TEST_DURATIONS, frames=times * synthetic.FRAMES)
    return scene, synthetic.questions(scene, rng)


def decided(scene: synthetic.Scene, kind: str, share: float) -> bool:
    """Whether a share of a scene shows the answer."""
    last = {"needle": scene.star.stop, "order": scene.triangles[0].stop}.get(kind, 0)
    return last <= share * scene.frames


def frames_of(scene: synthetic.Scene, fps: float, size: tuple[int, int], folder: Path) -> np.ndarray:
    """The frames of a scene as a stream gives them, (T, H, W, 3) uint8."""
    path = folder / "video.mp4"
    write_video(path, synthetic.render(scene))
    read = live_frames(LiveSettings(LiveSource.of(str(path)), fps, size, 10.0))
    return np.stack([frame.frame_HWC for frame in read if isinstance(frame, LiveFrame)])


class Asked:
    """A model that is asked about long videos."""

    def __init__(self, run: str, dtype: torch.dtype) -> None:
        self.model: VideoLLM = load_video_llm(run).eval()
        self.model.backbone.encoder.save_memory(CLIPS_AT_ONCE)  # type: ignore[union-attr, operator]
        self._autocast = partial(torch.autocast, "cpu", dtype, enabled=dtype != torch.float32)

    @property
    def size(self) -> tuple[int, int]:
        """Of its frames."""
        assert self.model.frames.image_size is not None
        return self.model.frames.image_size

    def encode(self, frames_THWC: np.ndarray) -> Tensor:
        """Tokens of each clip, (T', H', W', C)."""
        with self._autocast():
            return self.model.encode(normalize(resize_uint8(frames_THWC, self.size))[None])[0].float()

    def answers(self, tokens_BTHWC: Tensor, questions: Sequence[dict[str, Any]]) -> list[bool]:
        """Which of the questions it answers right by the likelihood of the options."""
        with self._autocast():
            visual_BTNC = self.model.project(tokens_BTHWC)
            (logits_QV,) = self.model.first_answer_logits(visual_BTNC, [[row["question"] for row in questions]])
        chosen = [
            row["options"][int(logits_V[option_ids(self.model, row["options"])].argmax())]
            for row, logits_V in zip(questions, logits_QV, strict=True)
        ]
        return [option == row["answer"] for option, row in zip(chosen, questions, strict=True)]


Cell = tuple[str, int, str]
"""Method, budget, when it is asked."""


@torch.inference_mode()
def ask(run: str, world: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Accuracy of every memory on the long videos of one world."""
    seed = json.loads((Path(world) / "world.json").read_text())["seed"]
    asked, scores = Asked(run, getattr(torch, options.dtype)), dict[Cell, MultipleChoiceAccuracy]()
    with tempfile.TemporaryDirectory() as folder:
        for number in track(range(options.videos), f"stream {run}"):
            scene, questions = draw(seed, number, options.times)
            frames_THWC = frames_of(scene, options.fps, asked.size, Path(folder))
            clips_THWC = asked.encode(frames_THWC)
            for when, share in WHEN.items():
                some = [row for row in questions if decided(scene, row["type"], share)]
                seen_THWC = clips_THWC[: round(share * len(clips_THWC))]
                seen = list(seen_THWC)
                for name, budget, tokens_BTHWC in memories(asked, options.budgets, seen, frames_THWC, share):
                    right = asked.answers(tokens_BTHWC, some)
                    score = scores.setdefault((name, budget, when), MultipleChoiceAccuracy())
                    places = list(range(len(some)))
                    score.update(right, [row["type"] for row in some], [number] * len(some), places)
    return [
        {"method": name, "clips": budget, "when": when, **score.compute()}
        for (name, budget, when), score in scores.items()
    ]


def memories(asked: Asked, budgets: Sequence[int], seen: Clips, frames_THWC: np.ndarray, share: float) -> Any:
    """Name, budget and tokens (1, T, H', W', C) of each memory of the clips that were seen."""
    yield ALL, len(seen), torch.stack(list(seen))[None]
    clip = math.ceil(share * len(frames_THWC)) // len(seen)
    for budget in budgets:
        if budget >= len(seen):
            continue
        for name, hold in METHODS.items():
            yield name, budget, hold(seen, budget)
        frames = round(share * len(frames_THWC))
        chosen = (np.arange(budget * clip) + 0.5) * frames / (budget * clip)
        yield EVEN, budget, asked.encode(frames_THWC[chosen.astype(int)])[None]


def table(results: Sequence[Sequence[dict[str, Any]]]) -> str:
    """Mean accuracy over the models, a line for each method."""
    cells: dict[tuple[str, str, str], list[float]] = {}
    for rows in results:
        for row in rows:
            where = (row["method"], f"{row['clips']} clips", row["when"])
            cells.setdefault(where, []).append(row["accuracy"])
    lines = [[*where, f"{np.mean(values):.3f}", f"{min(values):.3f}"] for where, values in sorted(cells.items())]
    return markdown(["memory", "holds", "asked", "accuracy", "lowest seed"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="RUN=WORLD", help="export of LMA, and its world")
    parser.add_argument("--videos", type=int, default=100, help="of each model")
    parser.add_argument("--times", type=int, default=TIMES, help="as long as those of the world")
    parser.add_argument("--budgets", type=int, nargs="*", default=[8, 16, 32], help="clips that a memory holds")
    parser.add_argument("--fps", type=float, default=8.0, help="frames of a second that the stream gives")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="write the record here as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results = [ask(*given.split("=", 1), options) for given in options.models]
    print(table(results))
    if options.output is not None:
        names = ("videos", "times", "budgets", "fps", "dtype", "threads")
        settings = {name: getattr(options, name) for name in names}
        models = [{"model": number, "rows": rows} for number, rows in enumerate(results, start=1)]
        write_record(options.output, "stream", environment(), settings, {"models": models})


if __name__ == "__main__":
    main()
