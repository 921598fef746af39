"""Settings that would change nothing are refused by name, by a run and by its plan; said twice alike they are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightning.pytorch import Callback

from liteframe.command import cli
from liteframe.data.loading.batching import BatchShape
from liteframe.data.loading.trainer_progress import batches_of_run, validates_every
from liteframe.data.loading.unused_settings import require_used, said_of_steps
from liteframe.data.sampling import KeyFrames, Linspace, RandomSegment, UniformMidpoints
from liteframe.errors import ConfigError, StoreMismatch
from liteframe.planning.build import build
from liteframe.planning.command import plan_command
from liteframe.stages.ctd import CTDStage
from liteframe.stages.lma import LMAStage, LoraSettings
from liteframe.stages.stage import Stage
from liteframe.tiny.pretrain import HostPretrainStage
from tiny_world import (
    ENCODER,
    WAP_SETTINGS,
    decoding_in_process,
    encoder_folder,
    host_folder,
    make_trainer,
    manifest,
    store_folder,
    video_data,
)
from toy_stage import ToyExporter

EIGHT = [BatchShape(8, 3)]
OWN = [BatchShape(8, 3, sampler=KeyFrames()), BatchShape(4, 2, sampler=Linspace())]


class Sizes(Callback):
    """Videos and frames of each batch of training and of validation."""

    def __init__(self) -> None:
        self.train: list[tuple[int, int]] = []
        self.val: list[tuple[int, int]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.train.append(tuple(batch["frames_BTCHW"].shape[:2]))

    def on_validation_batch_start(self, trainer: Any, pl_module: Any, batch: Any, *_: Any) -> None:
        self.val.append(tuple(batch["frames_BTCHW"].shape[:2]))


def ctd(**settings: Any) -> CTDStage:
    return CTDStage(**{"encoder": ENCODER, "picture_every": 0, **WAP_SETTINGS, **settings})


def lma() -> LMAStage:
    lora = LoraSettings(rank=4, alpha=8, targets=["q_proj"])
    return LMAStage(str(host_folder()), str(encoder_folder()), lora, attention="eager")


def fit(folder: Path, stage: Stage, **settings: Any) -> Sizes:
    sizes = Sizes()
    common: dict[str, Any] = {} if "store" in settings else {"train": str(manifest())}
    with decoding_in_process():
        data = video_data(**{"frames": None, "batch_size": None, **common, **settings})
        make_trainer(folder, max_steps=2, callbacks=[sizes]).fit(stage, data)
    return sizes


REFUSED: list[tuple[Callable[[], Stage], dict[str, Any], str]] = [
    (lma, {"shapes": EIGHT, "frames": 8}, r"data\.frames beside data\.shapes"),
    (lma, {"shapes": EIGHT, "batch_size": 1}, r"data\.batch_size beside data\.shapes"),
    (lma, {"shapes": EIGHT, "frames": 4, "batch_size": 1}, r"data\.batch_size and data\.frames beside data\.shapes"),
    (lma, {"shapes": OWN, "train_sampler": KeyFrames()}, r"data\.train_sampler beside data\.shapes"),
    (lma, {"windows_per_video": 2, "sampler": RandomSegment()}, r"data\.windows_per_video is 2, but fit"),
    (lma, {"sampler": Linspace()}, r"data\.sampler is of validation, and data\.val is not set"),
    (ctd, {"store": "", "sampler": Linspace()}, r"data\.sampler is of validation"),
    (lma, {"store": ""}, r"data\.store is set, but LMAStage"),
    (lambda: HostPretrainStage(str(host_folder())), {"store": ""}, r"data\.store is set, but HostPretrainStage"),
    (ToyExporter, {"val": ""}, r"data\.val is set, but ToyExporter has nothing to validate"),
    (ctd, {"store": "", "frames": 16}, r"data\.frames: 16, but the samples of .* have 8; set 8"),
    (
        ctd,
        {"store": "", "shapes": [BatchShape(4, 2), *EIGHT]},
        r"data\.shapes: frames: 4, but the samples of .* have 8",
    ),
    (ctd, {"store": "", "shapes": EIGHT, "batch_size": 1}, r"data\.batch_size beside data\.shapes"),
    (ctd, {"store": "", "train_sampler": Linspace()}, r"data\.train_sampler .*RandomSegment"),
    (ctd, {"store": "", "train_sampler": RandomSegment()}, r"data\.train_sampler .*'strides': \[1, 4\]"),
    (ctd, {"store": "", "shapes": [BatchShape(8, 2, sampler=Linspace())]}, r"a sampler of data\.shapes"),
    (ctd, {"store": "", "shapes": [BatchShape(8, 2, question_types=["motion"])]}, "question_types choose nothing"),
    (ctd, {"store": "", "val": ""}, r"data\.val is set.*set model\.teacher"),
    (lambda: ctd(target_dtype="float16"), {"store": ""}, r"model\.target_dtype"),
    (lambda: ctd(attention="eager"), {"store": ""}, r"model\.attention"),
]
SOURCES = {"store": store_folder, "val": lambda: manifest("test")}


@pytest.mark.parametrize(("stage", "settings", "message"), REFUSED, ids=[message for *_, message in REFUSED])
def test_a_setting_without_effect_is_refused(stage: Any, settings: Any, message: str, tmp_path: Path) -> None:
    settings = {name: str(SOURCES[name]()) if value == "" else value for name, value in settings.items()}
    with pytest.raises(ConfigError, match=message):
        fit(tmp_path, stage(), **settings)


def test_a_model_says_so_where_it_is_built() -> None:
    host = str(host_folder())
    for settings, name in (
        ({"pooled_by": "average"}, "pooled_too"),
        ({"pool_scale": 3.0}, "pooled_too"),
        ({"pooled_too": True, "pooled_by": "average", "pool_scale": 3.0}, "pooled_by is average"),
        ({"gapless_types": ["motion"]}, "longest_video"),
    ):
        with pytest.raises(ConfigError, match=name):
            HostPretrainStage(host, **settings)  # type: ignore[arg-type]


def test_what_a_store_says_too_may_be_said(tmp_path: Path) -> None:
    store = str(store_folder())
    for settings in (
        {},
        {"frames": 8},
        {"train_sampler": RandomSegment([1, 4])},
        {"shapes": [BatchShape(8, 8)]},
    ):
        assert fit(tmp_path, ctd(), store=store, **settings).train == [(8, 8)] * 2
    assert fit(tmp_path, ctd(), store=store, batch_size=5).train == [(5, 8)] * 2


def test_beside_shapes_or_a_store_frames_and_batch_size_are_those_of_validation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = ctd(teacher=str(host_folder()))
    val = {"val": str(manifest("test")), "frames": 4, "batch_size": 2, "sampler": UniformMidpoints()}
    sizes = fit(tmp_path, teacher, shapes=[BatchShape(8, 5)], **val)
    assert sizes.train == [(5, 8)] * 2 and set(sizes.val) == {(2, 4), (1, 4)}
    said = "training batches are made by data.{}, so data.{} go to validation alone"
    assert said.format("shapes", "batch_size and data.frames") in capsys.readouterr().out
    sizes = fit(tmp_path, teacher, store=str(store_folder()), **val)
    assert sizes.train == [(2, 8)] * 2 and set(sizes.val) == {(2, 4), (1, 4)}
    assert said.format("store", "frames") in capsys.readouterr().out
    sizes = fit(tmp_path, teacher, store=str(store_folder()), val=val["val"])
    assert sizes.train == [(8, 8)] * 2 and set(sizes.val) == {(3, 8)}, "validation follows the store where it can"


def test_a_shape_that_begins_after_the_run_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = str(store_folder())
    for from_step, said in ((1, False), (2, True)):
        fit(tmp_path, ctd(), store=store, shapes=[BatchShape(8, 5), BatchShape(8, 4, from_step=from_step)])
        assert ("begins at step 2, but this run ends after 2 batches" in capsys.readouterr().err) is said


@pytest.mark.parametrize(("interval", "said"), [(2, False), (3, True)])
def test_a_run_that_never_validates_is_said(interval: int, said: bool) -> None:
    class Trainer:
        check_val_every_n_epoch, val_check_interval = None, interval
        max_steps, max_epochs, accumulate_grad_batches, limit_train_batches = 1, None, 2, 1.0

    assert batches_of_run(Trainer, 100) == 2
    lines = list(said_of_steps([BatchShape(8, 5)], 2, validates_every(Trainer)))
    assert bool(lines) is said and all("never validates" in line for line in lines)
    Trainer.check_val_every_n_epoch = 1
    assert validates_every(Trainer) is None
    Trainer.max_steps, Trainer.max_epochs, Trainer.limit_train_batches = -1, 3, 40
    assert batches_of_run(Trainer, 100) == 120
    Trainer.max_epochs = -1
    assert batches_of_run(Trainer, 100) is None


def test_what_makes_training_batches_is_refused_where_nothing_is_trained() -> None:
    given = video_data(shapes=EIGHT, train_sampler=Linspace())
    for verb in ("test", "predict"):
        with pytest.raises(ConfigError, match=rf"data\.shapes and data\.train_sampler beside {verb}"):
            require_used(given, verb, None)
    require_used(given, "validate", None)
    with pytest.raises(ConfigError, match=r"data\.train_sampler beside predict"):
        plan_command(["cache.yaml"], [f"model.teacher={host_folder()}", "data.train_sampler=KeyFrames"])
    with pytest.raises(ConfigError, match=r"data\.sampler is of validation"):
        plan_command(["ctd.yaml"], ["data.val=null", "data.sampler=KeyFrames"])


def test_a_plan_refuses_a_store_that_the_run_would(capsys: pytest.CaptureFixture[str]) -> None:
    kept = f"data.store={store_folder()}"
    made = ["model.similarity=cosine", "model.scale=20", "data.decoder=pyav"]
    words = ["data.train=null", kept, "model.encoder.image_size=112", "model.encoder.output_size=128", *made]
    assert plan_command(["tiny/ctd.yaml"], words) == 0
    for change, said in (
        ("model.scale=3", "scale"),
        ("model.similarity=dot", "similarity"),
        ("model.target=max", r"model\.target"),
        ("data.decoder=decord", "decoder"),
    ):
        with pytest.raises(StoreMismatch, match=said):
            plan_command(["tiny/ctd.yaml"], [*words, change])


def test_no_shapes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.shapes is empty"):
        video_data(shapes=[])


@pytest.mark.parametrize("setting", ["data.batch_size=2", "data.frames=8", "data.windows_per_video=3"])
def test_a_plan_refuses_what_the_run_refuses(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    name = setting.partition("=")[0].replace(".", r"\.")
    sampler = "data.sampler=RandomSegment"
    with pytest.raises(ConfigError, match=name):
        plan_command(["lma.yaml"], set=["data.val=null", sampler, setting])
    sources = [f"--model.host={host_folder()}", f"--model.encoder={encoder_folder()}", f"--data.train={manifest()}"]
    words = ["--config", "tiny/lma.yaml", "--config", "trainer/cpu.yaml", *sources, f"--{sampler}", f"--{setting}"]
    assert cli.main(["fit", *words]) == 1
    assert setting.partition("=")[0] in capsys.readouterr().err
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").rglob("*.ckpt"))


def test_a_plan_takes_from_a_store_what_the_run_takes(tmp_path: Path) -> None:
    words = [f"data.store={store_folder()}", "data.frames=null", "data.batch_size=5"]
    stage, data, _ = build(["tiny/ctd.yaml"], words)
    with decoding_in_process():
        assert isinstance(stage, CTDStage)
        (shape,) = data.shapes
    assert (shape.frames, shape.batch_size) == (8, 5)
    with pytest.raises(ConfigError, match=r"data\.frames: 12"):
        build(["tiny/ctd.yaml"], [f"data.store={store_folder()}", "data.frames=12"])


def test_a_saved_config_says_no_more_than_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what a run keeps can be run again, with shapes or a store."""
    monkeypatch.chdir(tmp_path)
    sources = [f"--model.host={host_folder()}", f"--model.encoder={encoder_folder()}", f"--data.train={manifest()}"]
    words = ["--trainer.max_steps=1", "--data.shapes=[{frames: 4, batch_size: 2}]", "--data.num_workers=0"]
    assert cli.main(["fit", "--config", "tiny/lma.yaml", *sources, *words]) == 0
    saved = Path("runs/tiny/lma/config.yaml")
    settings = yaml.safe_load(saved.read_text())["data"]["init_args"]
    assert settings["frames"] is None and settings["batch_size"] is None
    again = ["--config", str(saved), "--trainer.default_root_dir=again", "--allow-code"]
    assert cli.main(["fit", *again]) == 0
