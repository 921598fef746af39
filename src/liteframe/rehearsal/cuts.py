"""What of a stage's config is cut down for a rehearsal: sizes, numbers, files and devices. All else stays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from liteframe.errors import ConfigError
from liteframe.planning.build import device_count
from liteframe.rehearsal.configs import CACHE, CTD, EVALUATE, LMA, Kind, StageRun
from liteframe.rehearsal.small_models import HEADS, WIDTH, SmallModel, is_base_vlm, small_side

STEPS, STOP_AFTER = 4, 2
"""Optimizer steps of a rehearsed run, and after how many it is stopped and goes on."""
_BATCH, _CLIP, _ACCUMULATED, _UNKNOWN_DEVICES = 2, 4, 2, 2
_FAMILIES = ("InternVL", "Siglip", "QwenVL", "VJEPA2", "VideoPrism", "TimmViT")
_SPLITS = ("train", "val", "test", "predict")
_SIDE, _PATCH, _MANY_FRAMES = 448, 14, 64
_WRITES_TO = ("dirpath", "save_dir")
_KEPT_LOGGERS = ("TensorBoardLogger", "CSVLogger")
_NEEDS_GPU = ("fsdp", "deepspeed", "xla")


@dataclass(frozen=True)
class Places:
    """What rehearsed stages read and write in place of the user's files, all in one folder.

    Attributes:
        home: the folder of the rehearsal.
        models: by folder, hub id or name of what they stand for.
    """

    home: Path
    models: Mapping[str, SmallModel]

    def run(self, name: str) -> Path:
        """Run folder of a stage."""
        return self.home / name

    def videos(self, split: str, part: int = 0) -> str:
        """List of videos of a split, or of a part of it."""
        return str(self.home / "world" / (f"{split}.jsonl" if part == 0 else f"{split}-{part}.jsonl"))


def processes_of(run: StageRun) -> int:
    """Processes that a stage is rehearsed with: as many as its machine has devices, on one node."""
    devices = run.trainer.get("devices")
    return _UNKNOWN_DEVICES if devices in ("auto", "-1", -1) else device_count(devices)


def videos_of(run: StageRun, processes: int) -> int:
    """Videos for `STEPS` optimizer steps."""
    return STEPS * processes * _BATCH * min(int(run.trainer.get("accumulate_grad_batches") or 1), _ACCUMULATED)


def lists_of(run: StageRun) -> int:
    """The most lists that a split of a stage is mixed from."""
    splits = (run.data.get(split) for split in _SPLITS)
    return max((len(given) for given in splits if isinstance(given, list)), default=0)


def teacher_of(run: StageRun) -> tuple[str, str] | None:
    """Source and family of the published model that a stage reads; None of one that reads what another stage made.

    Raises:
        ConfigError: a teacher of another class than those of liteframe.
    """
    value = run.model.get({CACHE: "teacher", CTD: "teacher", LMA: "host", EVALUATE: "source"}[run.kind])
    if value is None or (run.kind == EVALUATE and not is_base_vlm(str(value))):
        return None
    if not isinstance(value, dict):
        return str(value), "InternVL"
    family = str(value["class_path"]).rpartition(".")[2]
    if family not in _FAMILIES:
        raise ConfigError(
            f"model.teacher {family} cannot be rehearsed: there is no small model of it; {', '.join(_FAMILIES)} can be"
        )
    return str(value["init_args"]["source"]), family


def read_by(run: StageRun) -> list[Kind]:
    """Stages whose results a stage reads."""
    if run.kind == CTD and (run.data.get("store") or run.model.get("statistics")):
        return [CACHE]
    if run.kind == LMA:
        return [CTD]
    return [LMA] if run.kind == EVALUATE and teacher_of(run) is None else []


def cut(run: StageRun, places: Places, processes: int) -> dict[str, Any]:
    """The settings that a rehearsal changes, as a config to come after all others.

    Args:
        run: the stage.
        places: what it reads and writes.
        processes: that it runs in.

    Raises:
        ConfigError: a strategy that needs a GPU.
    """
    cuts: dict[str, Any] = {
        "model": {"init_args": dict(_of_model(run, places))},
        "data": {"init_args": dict(_of_data(run, places))},
        "trainer": dict(_of_trainer(run, places.run(run.kind.name), processes)),
    }
    if "ckpt_path" in run.settings:
        cuts["ckpt_path"] = None
    return cuts


def _of_model(run: StageRun, places: Places) -> Iterator[tuple[str, Any]]:
    model, teacher = run.model, teacher_of(run)
    if run.kind == CACHE:
        yield "teacher", _small(model["teacher"], places)
        yield "store", str(places.run("cache") / "store")
    elif run.kind == CTD:
        if teacher is not None:
            yield "teacher", _small(model["teacher"], places)
        follows = isinstance(model.get("teacher"), dict)
        yield "encoder", _encoder(dict(model.get("encoder") or {}), follows, _patch(run, places))
        if model.get("timm_weights"):
            yield "timm_weights", str(places.models[model["timm_weights"]].folder)
        if model.get("statistics"):
            yield "statistics", str(places.run("cache") / "store")
        if "statistics_batches" in model:
            yield "statistics_batches", min(model["statistics_batches"], STEPS)
    elif run.kind == LMA:
        yield "host", _small(model["host"], places)
        yield "encoder", model.get("encoder") and str(places.run("ctd") / "export")
    else:
        if model.get("encoder_chunk_frames"):
            yield "encoder_chunk_frames", min(model["encoder_chunk_frames"], 4 * _CLIP)
        known = places.models.get(str(model["source"]))
        yield "source", str(known.folder if known else places.run("lma") / "export")
    if model.get("out"):
        yield "out", None


def _small(teacher: Any, places: Places) -> Any:
    """The same value with the small model in it."""
    if isinstance(teacher, dict):
        source = str(places.models[teacher["init_args"]["source"]].folder)
        return {"class_path": teacher["class_path"], "init_args": {**teacher["init_args"], "source": source}}
    return str(places.models[str(teacher)].folder)


def layers_of(encoder: Mapping[str, Any]) -> int:
    """Blocks of the small student: one before each strided convolution, and one after the last."""
    after = encoder.get("downsample_after")
    return max(2, 1 + (2 if after is None else len(after)))


def _patch(run: StageRun, places: Places) -> int:
    """Side of a patch in pixels, of the model that a stage reads; InternVL's where it reads none."""
    teacher = teacher_of(run)
    return _PATCH if teacher is None else places.models[teacher[0]].patch_size


def _places(after: Sequence[int]) -> list[int]:
    """Places of the strided convolutions, one after another; one before the first block stays there."""
    first = 0 if after and after[0] == 0 else 1
    return list(range(first, first + len(after)))


def _encoder(encoder: dict[str, Any], follows: bool, patch: int) -> dict[str, Any]:
    """The small student; its size of frames stays out where it follows the teacher's."""
    layers, after = layers_of(encoder), encoder.get("downsample_after")
    small = {
        "hidden_size": WIDTH,
        "num_attention_heads": HEADS,
        "num_hidden_layers": layers,
        "output_size": WIDTH,
        "downsample_after": list(range(1, layers)) if after is None else _places(after),
    }
    if sizes := encoder.get("early_hidden_sizes"):
        small["early_hidden_sizes"] = [WIDTH // HEADS] * len(sizes)
    if encoder.get("image_size") or not follows:
        small["image_size"] = small_side(encoder.get("image_size") or _SIDE, 4 * (encoder.get("patch_size") or patch))
    return {name: value for name, value in encoder.items() if value is not None} | small


def _of_data(run: StageRun, places: Places) -> Iterator[tuple[str, Any]]:
    data = run.data
    for split in _SPLITS:
        if given := data.get(split):
            yield split, _sources(given, "train" if split == "predict" else split, places)
    if data.get("store"):
        yield "store", str(places.run("cache") / "store")
    for name in ("store_root", "store_cache", "remote_cache", "clip_store"):
        if data.get(name):
            yield name, None
    yield from _of_frames(data)
    if size := data.get("image_size"):
        multiple = 4 * _patch(run, places)
        yield (
            "image_size",
            small_side(size, multiple) if isinstance(size, int) else [small_side(side, multiple) for side in size],
        )
    for name, most in (("num_workers", 1), ("decode_processes", 1), ("windows_per_video", 2)):
        if data.get(name, 0) > most:
            yield name, most


def _of_frames(data: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Few frames in small batches; of several shapes, those with more frames keep having more."""
    if data.get("frames"):
        yield "frames", min(data["frames"], (8 if data["frames"] > _MANY_FRAMES else 2) * _CLIP)
    if data.get("batch_size"):
        yield "batch_size", min(data["batch_size"], _BATCH)
    if shapes := data.get("shapes"):
        ladder = sorted({shape["frames"] for shape in shapes})
        yield (
            "shapes",
            [
                {
                    **shape,
                    "frames": min(shape["frames"], 2 * _CLIP * (1 + ladder.index(shape["frames"]))),
                    "batch_size": min(shape["batch_size"], _BATCH),
                }
                for shape in shapes
            ],
        )


def _sources(given: Any, split: str, places: Places) -> Any:
    """As many lists as there were, with their weights."""
    if not isinstance(given, list):
        return places.videos(split) if isinstance(given, str) else {**given, "path": places.videos(split), "root": None}
    return [
        {"path": places.videos(split, part), **_weight(source)}
        if isinstance(source, dict)
        else places.videos(split, part)
        for part, source in enumerate(given, start=1)
    ]


def _weight(source: dict[str, Any]) -> dict[str, Any]:
    return {} if source.get("weight") is None else {"weight": source["weight"]}


def _of_trainer(run: StageRun, folder: Path, processes: int) -> Iterator[tuple[str, Any]]:
    trainer = run.trainer
    yield "default_root_dir", str(folder)
    if torch.cuda.device_count() < processes:
        yield "accelerator", "cpu"
        if trainer.get("precision") is not None:
            yield "precision", _precision(str(trainer["precision"]))
    yield "devices", processes
    yield "num_nodes", 1
    if isinstance(trainer.get("strategy"), dict | str):
        yield "strategy", _strategy(trainer["strategy"], processes)
    if run.kind.verb == "fit":
        yield "max_steps", STEPS
    batches = min(int(trainer.get("accumulate_grad_batches") or 1), _ACCUMULATED)
    yield "accumulate_grad_batches", batches
    interval = trainer.get("val_check_interval")
    if isinstance(interval, int) and not isinstance(interval, bool):
        yield "val_check_interval", min(interval, STOP_AFTER * batches)
    if trainer.get("check_val_every_n_epoch"):
        yield "check_val_every_n_epoch", 1
    for name in ("callbacks", "logger", "profiler"):
        if trainer.get(name) not in (None, True, False):
            yield name, _in_folder(trainer[name], str(folder))


def _precision(precision: str) -> str:
    """One that a CPU has: bfloat16 for float16 and for what NVIDIA's own engine does."""
    if precision.startswith("transformer-engine"):
        return "bf16-mixed"
    return f"bf{precision}" if precision.startswith("16") else precision


def _strategy(strategy: Any, processes: int) -> Any:
    """The same strategy over that many processes, which talk over gloo on a CPU."""
    name = strategy if isinstance(strategy, str) else strategy["class_path"].rpartition(".")[2]
    on_cpu = torch.cuda.device_count() < processes
    if on_cpu and any(word in name.lower() for word in _NEEDS_GPU):
        raise ConfigError(
            f"trainer.strategy {name} runs on GPUs alone, so it cannot be rehearsed here; ModelParallelStrategy"
            " (--config trainer/fsdp.yaml) shares weights out on both"
        )
    if isinstance(strategy, str):
        return strategy
    arguments = dict(strategy.get("init_args") or {})
    if on_cpu and arguments.get("process_group_backend") == "nccl":
        arguments["process_group_backend"] = "gloo"
    if isinstance(arguments.get("data_parallel_size"), int) and isinstance(arguments["tensor_parallel_size"], int):
        arguments["data_parallel_size"] = processes // arguments["tensor_parallel_size"]
    return {**strategy, "init_args": arguments}


def _in_folder(value: Any, folder: str) -> Any:
    """Callbacks, loggers and profilers that write into the run folder, checkpoints every few steps."""
    if isinstance(value, list):
        return [_in_folder(item, folder) for item in value]
    if not isinstance(value, dict):
        return value
    if "Logger" in str(value.get("class_path")) and not value["class_path"].endswith(_KEPT_LOGGERS):
        return True
    changed = dict(value)
    for name, inner in (value.get("init_args") or {}).items():
        if name in _WRITES_TO and inner is not None:
            changed["init_args"] = {**changed["init_args"], name: folder}
        if name == "every_n_train_steps" and inner:
            changed["init_args"] = {**changed["init_args"], name: min(inner, STOP_AFTER)}
    return changed
