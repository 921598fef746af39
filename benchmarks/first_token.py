"""Time from a video file to the first token of the answer: one stage after the other, and as chat does it.

python benchmarks/first_token.py runs/tiny-seed4/export "color of the first triangle" --output first_token.json

Clips are synthesised: a small one, and 1080p of one group of pictures, of several, and a long one. Arms take turns:

- `in turn`: all frames are decoded, then encoded, then read by the LLM;
- `chat`: `ChatModel.chat` up to the first token, which does what it can at the same time;
- `transformers`: AutoProcessor and `generate` of one token, on the same folder.

Beside them stand the floors: the seconds that each stage takes alone on one core, by the cores (work that is shared out
without loss), and the slowest stage with all cores. All answers of a clip must be the same.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

import liteframe
import liteframe.hf
from liteframe.bench.environment import environment
from liteframe.bench.records import write_record
from liteframe.chat.model import ChatModel
from liteframe.data.decoding.processes.pool import DecodeJob, DecodePool, VideoFrames
from liteframe.data.decoding.processes.reader_threads import threads_for
from liteframe.data.sampling import UniformMidpoints
from liteframe.data.transforms import normalize, resize_uint8
from liteframe.models.video_llm.generation import Conversation
from liteframe.system.tables import aligned

CLIPS: dict[str, tuple[int, tuple[int, int], int, int]] = {
    "small": (128, (112, 112), 12, 64),
    "1080p": (150, (1080, 1920), 1000, 64),
    "1080p, groups": (150, (1080, 1920), 30, 64),
    "long": (2000, (360, 640), 60, 256),
}
"""Frames, (height, width) and frames of a group of pictures of each file; frames that are looked at."""
STAGES = ("decode", "encode", "prefill")


def write_clip(path: Path, frames: int, size: tuple[int, int], group: int) -> str:
    """An H.264 file of a noisy picture that drifts."""
    rng = np.random.default_rng(0)
    small_HWC = rng.integers(0, 256, (size[0] // 8, size[1] // 8, 3), np.uint8)
    picture_HWC = small_HWC.repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=30, options={"g": str(group), "preset": "veryfast"})
        stream.height, stream.width, stream.pix_fmt = *picture_HWC.shape[:2], "yuv420p"
        for number in range(frames):
            moved_HWC = np.roll(picture_HWC, (number, 2 * number), (0, 1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moved_HWC, format="rgb24")))
        container.mux(stream.encode(None))
    return str(path)


class InTurn:
    """One stage after the other, over public parts; `seconds` has what each took.

    Args:
        chat: has the model.
        threads: that decode.
    """

    def __init__(self, chat: ChatModel, threads: int) -> None:
        self.chat, self.pool = chat, DecodePool(threads=threads, deadline_s=600.0)
        self.seconds: dict[str, float] = {}

    @torch.inference_mode()
    def first_token(self, video: str, question: str, frames: int) -> int:
        model, dtype, device = self.chat.model, self.chat.dtype, self.chat.device
        size = model.frames.image_size
        assert size is not None
        began = time.perf_counter()
        (decoded,) = self.pool.run([DecodeJob(video, UniformMidpoints(), frames, size=size)])
        assert isinstance(decoded, VideoFrames), decoded
        decoded_at = time.perf_counter()
        frames_BTCHW = normalize(resize_uint8(decoded.frames_THWC, size).to(device))[None]
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            visual_BTNC = model.project(model.encode(frames_BTCHW))
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        encoded_at = time.perf_counter()
        token = next(Conversation(model, visual_BTNC, dtype).reply(question, 1), -1)
        stages = (decoded_at - began, encoded_at - decoded_at, time.perf_counter() - encoded_at)
        self.seconds = dict(zip(STAGES, stages, strict=True))
        return token


def by_chat(chat: ChatModel, video: str, question: str, frames: int) -> tuple[int, dict[str, float]]:
    """The first token, and the milliseconds that chat tells of."""
    talk = chat.chat(video, frames=frames, sampler=UniformMidpoints())
    talk.ask(question, 1)
    assert talk.last is not None
    return (talk._conversation.ids[-1] if talk.last.answer_tokens else -1), talk.last.ms


class Rival:
    """transformers' own way. Args as of `InTurn`, and the folder."""

    def __init__(self, folder: str, device: torch.device) -> None:
        self.model = AutoModelForImageTextToText.from_pretrained(folder).to(device).eval()
        self.processor = AutoProcessor.from_pretrained(folder)

    @torch.inference_mode()
    def first_token(self, video: str, question: str, frames: int) -> int:
        content = [{"type": "video", "path": video}, {"type": "text", "text": question}]
        inputs = self.processor.apply_chat_template(
            [{"role": "user", "content": content}],
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            add_generation_prompt=True,
            processor_kwargs={"num_frames": frames},
        ).to(self.model.device)
        ids = self.model.generate(**inputs, max_new_tokens=1, do_sample=False)
        return int(ids[0, -1])


def on_one_core(chat: ChatModel, video: str, question: str, frames: int) -> dict[str, float]:
    """Seconds of each stage with one thread."""
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = InTurn(chat, threads=1)
        alone.first_token(video, question, frames)
        alone.first_token(video, question, frames)
        alone.pool.close()
        return alone.seconds
    finally:
        torch.set_num_threads(cores)


def measured(
    chat: ChatModel, rival: Rival, name: str, video: str, question: str, frames: int, repeats: int
) -> dict[str, Any]:
    """The row of a clip."""
    in_turn = InTurn(chat, threads_for(1))
    told: list[dict[str, float]] = []
    stages: list[dict[str, float]] = []

    def chats() -> int:
        token, ms = by_chat(chat, video, question, frames)
        told.append(ms)
        return token

    def turns() -> int:
        token = in_turn.first_token(video, question, frames)
        stages.append(in_turn.seconds)
        return token

    arms: dict[str, Callable[[], int]] = {
        "in turn": turns,
        "chat": chats,
        "transformers": lambda: rival.first_token(video, question, frames),
    }
    seconds: dict[str, list[float]] = {arm: [] for arm in arms}
    tokens = set()
    for repeat in range(repeats + 1):
        for arm, run in arms.items():
            began = time.perf_counter()
            token = run()
            if repeat:
                seconds[arm].append(round(time.perf_counter() - began, 4))
            if arm != "transformers":  # it may say the end, which the others leave out
                tokens.add(token)
    assert len(tokens) == 1, f"{name}: the arms say {tokens}"
    in_turn.pool.close()
    alone = on_one_core(chat, video, question, frames)
    cores = torch.get_num_threads()
    best = min(stages[1:], key=lambda each: sum(each.values()))
    return {
        "clip": name,
        "frames": frames,
        "seconds": seconds,
        "stages_in_turn_s": {stage: round(best[stage], 4) for stage in STAGES},
        "stages_on_one_core_s": {stage: round(alone[stage], 4) for stage in STAGES},
        "work_over_cores_s": round(sum(alone.values()) / cores, 4),
        "chat_ms": {stage: round(ms, 2) for stage, ms in told[1 + int(np.argmin(seconds["chat"]))].items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder that liteframe export wrote")
    parser.add_argument("question")
    parser.add_argument("--clips", nargs="*", default=list(CLIPS), choices=list(CLIPS))
    parser.add_argument("--repeats", type=int, default=7, help="of each arm, in turns")
    parser.add_argument("--output", help="file of the record")
    options = parser.parse_args()
    chat = liteframe.load(options.model)
    rival = Rival(options.model, chat.device)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.clips:
            total, size, group, frames = CLIPS[name]
            video = write_clip(Path(folder, "clip.mp4"), total, size, group)
            rows.append(measured(chat, rival, name, video, options.question, frames, options.repeats))
    lines = [
        [
            row["clip"],
            str(row["frames"]),
            *(f"{1e3 * min(each):.1f}" for each in row["seconds"].values()),
            f"{1e3 * row['work_over_cores_s']:.1f}",
            f"{1e3 * max(row['stages_in_turn_s'].values()):.1f}",
        ]
        for row in rows
    ]
    print(aligned(["clip", "frames", "in turn", "chat", "transformers", "work/cores", "slowest stage"], lines))
    if options.output:
        settings = {"repeats": options.repeats, "shown": "least, in ms"}
        print(write_record(options.output, "first_token", environment(), settings, {"rows": rows}))


if __name__ == "__main__":
    main()
