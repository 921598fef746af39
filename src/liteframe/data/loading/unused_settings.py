"""Settings of the data that contradict each other or would change nothing, refused by name before any work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lightning.pytorch.utilities.model_helpers import is_overridden

from liteframe.data.loading.batching import BatchShape
from liteframe.data.remote.file import is_url
from liteframe.data.store.key import StoreKey
from liteframe.errors import ConfigError

if TYPE_CHECKING:
    from liteframe.data.datamodule import VideoDataModule


def require_consistent(data: VideoDataModule) -> None:
    """Raises ConfigError, by the names of the settings, where one is not allowed beside others."""
    if "shapes" in data.given and not data.given_shapes:
        raise ConfigError("data.shapes is empty; name at least one shape, or set it to null")
    if data.store_path and data.sources["train"]:
        raise ConfigError("data.store and data.train are both set; training reads one of them, so set one to null")
    if data.store_root is not None and not data.store_path:
        raise ConfigError(f"data.store_root is {data.store_root}, but data.store is not set; set it too, or neither")
    if data.store_cache is not None and not is_url(data.store_path or ""):
        raise ConfigError("data.store_cache is of a data.store at an address (s3://...), and it is none; leave it out")
    for split in ("val", "test", "predict"):
        if any(source.weight is not None for source in data.sources[split]):
            raise ConfigError(f"data.{split}: a source has a weight, but only those of data.train are mixed; drop it")
    if data.windows_per_video > 1 and not data.sampler.random:
        raise ConfigError(
            f"data.windows_per_video is {data.windows_per_video}, but data.sampler {type(data.sampler).__name__}"
            " gives the same frames each time; choose LogUniformSpacing or RandomSegment, or 1 window"
        )


def require_used(data: VideoDataModule, verb: str, stage: Any, key: StoreKey | None = None) -> None:
    """Refuses settings that have no effect beside others.

    Args:
        data: whose settings.
        verb: fit, validate, test or predict.
        stage: what reads the data; None if it is not known.
        key: of the feature store that `fit` reads.

    Raises:
        ConfigError: names each such setting, why it has no effect, and what to set instead.
    """
    faults = [*_of_windows(data, verb), *_of_training(data, verb), *_of_clip_store(data, verb, key)]
    if verb == "fit":
        faults += [*_of_shapes(data), *_of_validation(data, stage), *_of_sampler(data)]
        faults += _of_store(data, stage, key) if key is not None else []
    if faults:
        raise ConfigError("; ".join(faults))


def said_of_training(data: VideoDataModule) -> str:
    """A line that says which settings are of validation alone, or nothing."""
    fixed = {"frames", "batch_size"} if data.given_shapes else {"frames"} if data.store_path else set()
    names = " and ".join(f"data.{name}" for name in sorted(data.given & fixed))
    by = "data.shapes" if data.given_shapes else "data.store"
    return f"training batches are made by {by}, so {names} go to validation alone" if names else ""


def said_of_steps(shapes: Sequence[BatchShape], batches: int, validates_every: int | None) -> Iterator[str]:
    """A line for what a run of so many batches ends before: shapes of a curriculum, and the first validation.

    Args:
        shapes: of its batches.
        batches: on each rank.
        validates_every: so many batches; None where an epoch decides, or nothing is validated.
    """
    if validates_every is not None and validates_every > batches:
        yield (
            f"trainer.val_check_interval is {validates_every:,}, but this run ends after {batches:,} batches, so it"
            " never validates; lower it"
        )
    for shape in shapes:
        if shape.from_step >= batches:
            yield (
                f"data.shapes: the one of {shape.frames} frames begins at step {shape.from_step:,}, but this run ends"
                f" after {batches:,} batches, so it trains on none of them; lower from_step, or train longer"
            )


def _of_windows(data: VideoDataModule, verb: str) -> Iterator[str]:
    if verb != "predict" and data.windows_per_video > 1:
        yield (
            f"data.windows_per_video is {data.windows_per_video}, but {verb} takes one sample of a video at a time;"
            " leave it to predict"
        )


def _of_training(data: VideoDataModule, verb: str) -> Iterator[str]:
    """What makes training batches; `validate` takes the config of the training that it looks at."""
    alone = sorted(data.given & {"shapes", "train_sampler"}) if verb in ("test", "predict") else []
    if alone:
        names = " and ".join(f"data.{name}" for name in alone)
        yield f"{names} beside {verb}, which trains nothing; set data.frames, data.batch_size or data.sampler instead"


def _of_clip_store(data: VideoDataModule, verb: str, key: StoreKey | None) -> Iterator[str]:
    """Frames that are drawn anew at each visit are never asked for again, and neither are those that lie elsewhere."""
    if data.clip_store is None:
        return
    fits = verb == "fit"
    samplers = [shape.sampler for shape in data.shapes] if fits and key is None else []
    samplers += [data.sampler] if not fits or data.sources["val"] else []
    if key is not None and key.frames and not samplers:
        yield f"data.clip_store is set, but {data.store_path} keeps the frames of its samples; leave it out"
    elif key is None and all(sampler is not None and sampler.random for sampler in samplers):
        names = " and ".join(sorted({type(sampler).__name__ for sampler in samplers}))
        setting = "data.train_sampler (or data.shapes)" if fits else "data.sampler"
        yield (
            f"data.clip_store is set, but {names} draws other frames of a video at each visit; choose another"
            f" {setting}, such as UniformMidpoints, or leave data.clip_store out"
        )


def _of_sampler(data: VideoDataModule) -> Iterator[str]:
    if data.sampler_is_given and not data.sources["val"]:
        yield (
            "data.sampler is of validation, and data.val is not set; data.train_sampler chooses the frames of training"
        )


def _of_shapes(data: VideoDataModule) -> Iterator[str]:
    if "shapes" not in data.given:
        return
    alone = sorted(data.given & {"frames", "batch_size"})
    if alone and not data.sources["val"]:
        names = " and ".join(f"data.{name}" for name in alone)
        yield (
            f"{names} beside data.shapes, which say the frames and sizes of all training batches; change"
            " data.shapes, or set it to null (without data.shapes, data.frames and data.batch_size make the batches); a"
            " config.yaml that an earlier version wrote names them though nobody did: take them out of it"
        )
    if "train_sampler" in data.given and all(shape.sampler is not None for shape in data.given_shapes):
        yield "data.train_sampler beside data.shapes that all have a sampler of their own; leave one of them out"


def _of_validation(data: VideoDataModule, stage: Any) -> Iterator[str]:
    if data.sources["val"] and stage is not None and not is_overridden("validation_step", stage):
        yield f"data.val is set, but {type(stage).__name__} has nothing to validate; set it to null"


def _of_store(data: VideoDataModule, stage: Any, key: StoreKey) -> Iterator[str]:
    """Frames and samplers are fixed where the store was made; what says the same as its key is no fault."""
    if not getattr(stage, "reads_store", True):
        yield f"data.store is set, but {type(stage).__name__} learns from videos and their text; set data.train instead"
        return
    yield from _of_stored_frames(data, key.sampling.get("frames"))
    samplers = [shape.sampler for shape in data.given_shapes if shape.sampler is not None]
    samplers += [data.train_sampler] if "train_sampler" in data.given else []
    if "sampler" in key.sampling and any(key.diff({"sampling": {"sampler": one.describe()}}) for one in samplers):
        yield (
            f"data.train_sampler (or a sampler of data.shapes) chooses no frames of {data.store_path}: they were chosen"
            f" when it was made, by {key.sampling['sampler']}; leave it out, or make another store"
        )
    if any(shape.question_types for shape in data.given_shapes):
        yield f"data.shapes: question_types choose nothing in {data.store_path}, which has no questions; leave them out"


def _of_stored_frames(data: VideoDataModule, stored: Any) -> Iterator[str]:
    frames = {shape.frames for shape in data.given_shapes}
    if "frames" in data.given and not frames and not data.sources["val"]:
        frames = {data.frames}
    if stored is not None and frames - {stored}:
        name = "data.shapes: frames" if data.given_shapes else "data.frames"
        others = " and ".join(str(number) for number in sorted(frames - {stored}))
        yield (
            f"{name}: {others}, but the samples of {data.store_path} have {stored}; set {stored}, or make another store"
        )
