"""`liteframe chat --stream` and `ChatModel.stream`: questions about a video while it goes on."""

from __future__ import annotations

import json
import os
import threading
from functools import lru_cache
from pathlib import Path

import av
import pytest
import torch

import liteframe
from liteframe.chat.live import LiveChat
from liteframe.chat.model import ChatModel
from liteframe.command import cli
from liteframe.data.sampling import FpsCapped
from liteframe.errors import ConfigError, DecodeError
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.video_llm.adapted import save_adapted
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from tiny_world import encoder_folder, home, host_folder, manifest

QUESTION = "color of the star"


@lru_cache
def export() -> str:
    folder = home() / "lma-for-live-chat"
    folder.mkdir()
    host, _ = load_base_vlm(str(host_folder()))
    encoder = LiteFrameEncoder.from_pretrained(encoder_folder())
    save_adapted(folder, str(host_folder()), encoder, None, host.model.multi_modal_projector)
    return str(folder)


@lru_cache
def model() -> ChatModel:
    return liteframe.load(export())


@lru_cache
def video() -> Path:
    """A tiny video of 128 frames at 16 fps, in a container that can be read while it grows."""
    first = manifest().parent / json.loads(manifest().read_text().splitlines()[0])["path"]
    path = home() / "live.ts"
    with av.open(str(first)) as source, av.open(str(path), "w", format="mpegts") as muxer:
        stream = muxer.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                muxer.mux(packet)
    return path


def held_tokens(talk: LiveChat) -> torch.Tensor:
    return talk._memory.tokens()


@pytest.mark.parametrize("fps", [4.0, 13.0])
def test_a_stream_to_its_end_is_answered_as_the_file(fps: float) -> None:
    """Also where the last clip is short."""
    with model().stream(video(), fps=fps, memory=64, idle_s=0.3) as talk:
        assert talk.wait(60)
        answer = talk.ask(QUESTION, max_tokens=5)
    file = model().answer(video(), QUESTION, max_tokens=5, sampler=FpsCapped(fps), frames=1000)
    assert (answer.text, answer.frames, answer.visual_tokens) == (file.text, file.frames, file.visual_tokens)
    assert answer.text and answer.ended and answer.dropped == 0
    assert answer.held == answer.seen == -(-answer.frames // 4)
    assert f"seen to {(answer.frames - 1) / fps:.1f} s" in answer.summary() or fps == 13.0


def test_it_answers_midway_and_goes_on(tmp_path: Path) -> None:
    data, path = video().read_bytes(), tmp_path / "growing.ts"
    half = len(data) // 2 // 188 * 188
    path.write_bytes(data[:half])
    with path.open("ab", buffering=0) as writer, model().stream(path, fps=16.0, memory=4, idle_s=60) as talk:
        talk.await_first_frame()
        midway = talk.ask(QUESTION, max_tokens=3)
        assert midway.ended == "" and 0 <= midway.seen_s < 5 and midway.frames < 80
        writer.write(data[half:])
        while (later := talk.ask(QUESTION, max_tokens=3)).frames < 100:
            assert later.frames >= midway.frames and later.held <= 4
        assert later.seen_s > midway.seen_s
    assert talk._frames._child.process.poll() is not None


@pytest.mark.parametrize("forget", ["window", "merge"])
def test_the_memory_is_bounded(forget: str) -> None:
    with model().stream(video(), fps=16.0, memory=5, forget=forget, idle_s=0.3) as talk:  # type: ignore[arg-type]
        talk.wait(60)
        answer = talk.ask(QUESTION, max_tokens=3)
    assert (answer.frames, answer.held, answer.seen, answer.visual_tokens) == (128, 5, 32, 5 * 4)
    assert "holds 5 of 32 clips" in answer.summary()


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no video " * 1000)
    with model().stream(text, idle_s=0.2) as talk:
        with pytest.raises(DecodeError, match="text: "):
            talk.await_first_frame()
        with pytest.raises(DecodeError, match="text: "):
            talk.ask(QUESTION)
    with pytest.raises(DecodeError, match="no such file"):
        model().stream(tmp_path / "missing")
    for setting in ({"fps": 0}, {"idle_s": -1}, {"memory": 1}, {"forget": "all"}, {"image_size": 111}):
        with pytest.raises(ConfigError):
            model().stream(video(), **setting)  # type: ignore[arg-type]


def test_the_command_answers_about_a_pipe(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(video().read_bytes()))
    writer.start()
    assert cli.main(["chat", export(), str(path), QUESTION, "--stream", "true", "--fps", "4", "--memory", "3"]) == 0
    writer.join()
    out = capfd.readouterr().out
    assert "holds 3 of 8 clips" in out and "its writer has closed it" in out


def test_the_command_refuses_what_does_not_go_together(capfd: pytest.CaptureFixture[str]) -> None:
    for words, told in (
        (["--memory", "3"], "--memory is for streams"),
        (["--stream", "true", "--frames", "8"], "--frames is for files"),
    ):
        assert cli.main(["chat", export(), str(video()), QUESTION, *words]) != 0
        assert told in capfd.readouterr().err
