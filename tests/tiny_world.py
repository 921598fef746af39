"""A micro world for the tests of models and stages: a few videos, a tiny host, a store; each made once a session."""

from __future__ import annotations

import atexit
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from lightning.pytorch import Trainer
from peft import LoraConfig, get_peft_model

from liteframe.data.datamodule import VideoDataModule
from liteframe.data.decoding.processes.frame_chunks import Begin
from liteframe.data.decoding.processes.frame_stream import FrameStream
from liteframe.data.decoding.processes.job import DecodeJob, VideoFrames, decode
from liteframe.data.remote.cache import RemoteCache
from liteframe.data.sampling import RandomSegment, UniformMidpoints
from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.errors import DecodeError
from liteframe.models.folders.training_record import TrainingRecord
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.video_llm.adapted import save_adapted
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.model import LiteFrameBackbone, VideoLLM
from liteframe.system.own_folder import list_files, listing_sha256
from liteframe.tiny.models import build_tiny_base_vlm
from liteframe.tiny.synthetic_files import make_row

TRAIN, TEST = 9, 3
WAP_SETTINGS: dict[str, Any] = {"similarity": "cosine", "scale": 20.0}
ENCODER: dict[str, Any] = {
    "image_size": 112,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "output_size": 128,
    "downsample_after": [1, 2],
    "initializer_range": 0.06,
    "attention": "eager",
}


class InProcessPool:
    """Decodes where it is called, to save the tests the start of decode processes."""

    processes = 1

    def __init__(
        self,
        processes: int = 1,
        deadline_s: float = 30.0,
        decoder: str = "auto",
        remote_cache: RemoteCache | None = None,
        threads: int = 1,
        setting: str = "deadline_s",
        nice: int = 0,
    ) -> None:
        self.decoder, self.remote_cache = decoder, remote_cache

    def run(self, jobs: Sequence[DecodeJob]) -> list[VideoFrames | DecodeError]:
        return [self._one(job) for job in jobs]

    def _one(self, job: DecodeJob) -> VideoFrames | DecodeError:
        try:
            return decode(job, self.decoder, self.remote_cache)
        except DecodeError as error:
            return error

    def stream(self, job: DecodeJob, chunk_frames: int, ahead: int = 2) -> FrameStream:
        def read(stream: FrameStream) -> Any:
            video = self._one(job)
            if isinstance(video, DecodeError):
                return video
            stream.take(Begin(video.info, video.indices, video.times_s, threads=1), 0.0)
            for start in range(0, len(video.indices), chunk_frames):
                stream.take(video.frames_THWC[start : start + chunk_frames], 0.0)
            return video.info, video.decode_s

        return FrameStream(job, ahead).start(read)

    def close(self) -> None:
        pass


@contextmanager
def decoding_in_process() -> Iterator[None]:
    with mock.patch("liteframe.data.datamodule.DecodePool", InProcessPool):
        yield


@lru_cache
def home() -> Path:
    """Folder of everything here, removed when the tests end."""
    folder = tempfile.mkdtemp(prefix="liteframe-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@lru_cache
def manifest(split: str = "train") -> Path:
    """Manifest of `TRAIN` or `TEST` videos of 128 frames."""
    (home() / "world" / split).mkdir(parents=True, exist_ok=True)
    count = TRAIN if split == "train" else TEST
    rows = [make_row(str(home() / "world"), split, index, seed=5) for index in range(count)]
    path = home() / "world" / f"{split}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@lru_cache
def host_folder() -> Path:
    """A tiny host with fresh weights, and its processor."""
    folder = home() / "host"
    host, processor = build_tiny_base_vlm(seed=1)
    host.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@lru_cache
def store_folder() -> Path:
    """A feature store in float32 of the training videos, eight frames each, with the frames."""
    from liteframe.stages.cache import CacheStage

    folder = home() / "store"
    stage = CacheStage(str(host_folder()), str(folder), **WAP_SETTINGS, dtype="float32", store_frames=True)
    data = video_data(predict=str(manifest()), sampler=RandomSegment([1, 4]))
    with decoding_in_process():
        make_trainer(home() / "cache").predict(stage, data, return_predictions=False)
    return folder


@lru_cache
def encoder_folder() -> Path:
    """An encoder with fresh weights, as CTD would export it."""
    folder = home() / "encoder"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        LiteFrameEncoder(LiteFrameConfig(**ENCODER)).save_pretrained(folder)
    return folder


def adapted_model(host_source: Path) -> VideoLLM:
    """A student before an LLM whose adapters, projector and encoder have all moved from where they began."""
    host, processor = load_base_vlm(str(host_source), "eager")
    encoder = LiteFrameEncoder.from_pretrained(encoder_folder())
    settings = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"])
    host.model.language_model = get_peft_model(host.model.language_model, settings)
    model = VideoLLM(host, processor, LiteFrameBackbone(encoder), frames_per_group=4).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or name.startswith(("projector", "backbone")):
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


@lru_cache
def lma_run_folder() -> Path:
    """A run folder of LMA as a pipeline leaves it, with a made-up report beside it."""
    folder = home() / "run" / "lma"
    (folder / "export").mkdir(parents=True)
    model = adapted_model(host_folder())
    assert isinstance(model.backbone, LiteFrameBackbone)
    parts = (model.backbone.encoder, model.language_model, model.projector)
    save_adapted(folder / "export", str(host_folder()), *parts)
    frames = FrameSpec((112, 112), 4, UniformMidpoints(), 32)
    settings = {"questions_per_video": 4, "train_llm": True, "lora": {"rank": 4, "alpha": 8, "targets": ["q_proj"]}}
    TrainingRecord("LMAStage", 350, "bf16-mixed", frames, model=settings, data={"samples": 9}).write(folder / "export")
    list_files(folder / "export")
    proof = listing_sha256(folder / "export")
    (folder / "done.json").write_text(json.dumps({"seconds": 123.4, "export_sha256": proof}))
    stages = {f"{stage}_ms": 1.5 for stage in ("decode", "preprocess", "encode", "project", "prefill")}
    scores = {"accuracy": 0.791, "accuracy_low": 0.77, "accuracy_high": 0.812, "questions": 1520, "videos": 190}
    rows = [{"arm": method, "frames": 16, "tokens": 16, **scores, **stages} for method in ("teacher", "liteframe-lma")]
    (folder.parent / "report.json").write_text(
        json.dumps({"settings": {"exports": {"liteframe-lma": proof}}, "rows": rows})
    )
    return folder


def video_data(**settings: Any) -> VideoDataModule:
    """The data module at the tiny world's size; decoding in this process."""
    defaults: dict[str, Any] = {"image_size": 112, "decoder": "pyav"}
    if settings.get("shapes") is None:
        defaults |= {"frames": 8, "batch_size": 3}
    with decoding_in_process():
        return VideoDataModule(**{**defaults, **settings})


def make_trainer(folder: Path, **settings: Any) -> Trainer:
    """A quiet trainer in fp32 without checkpoints."""
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "use_distributed_sampler": False,
        "default_root_dir": folder,
        "log_every_n_steps": 1,
    }
    return Trainer(**{**quiet, **settings})


def sha256_of(folder: Path, pattern: str = "*.safetensors") -> dict[str, str]:
    """Relative path -> sha256 of the files below a folder."""
    found = sorted(path for path in folder.rglob(pattern) if path.is_file())
    assert found, f"no {pattern} in {folder}"
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}
