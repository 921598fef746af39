"""What settings come to: lists of videos are paths and no configs, mappings merge by key, and `+=` adds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from built_stages import build_stage
from liteframe.command.configs import resolve_config_args
from liteframe.command.lightning_cli import import_stages
from liteframe.command.stage_parser import takes_text
from liteframe.data.loading.batching import TrainBatchSampler
from liteframe.data.sampling import FpsCapped, FrameSampler, RandomSegment
from liteframe.data.sources.manifest import VideoSource
from liteframe.errors import ConfigError, DataError
from liteframe.models.student.encoder_config import EncoderSettings
from liteframe.models.teachers import TeacherSource
from liteframe.planning.build import BuildOnly
from liteframe.stages.ctd import CTDStage
from liteframe.stages.lma import LoraSettings

SPLITS = ("train", "val", "test", "predict")
LINEAR = LoraSettings().targets


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with lists of three and of two rows, in forms that read as YAML too."""
    monkeypatch.chdir(tmp_path)
    three, two = ([{"path": f"{name}{n}.mp4"} for n in range(count)] for name, count in (("a", 3), ("b", 2)))
    Path("three.json").write_text(json.dumps(three))
    Path("two.json").write_text(json.dumps(two, indent=1))
    Path("one.jsonl").write_text(json.dumps(three[0]) + "\n")
    Path("three.txt").write_text("".join(json.dumps(row) + "\n" for row in three))
    Path("clips").mkdir()
    for name in ("clip.mp4", "clips/x.mp4", "clips/y.mp4"):
        Path(name).write_bytes(b"path: clip.mp4")
    return tmp_path


def config(name: str, **parts: Any) -> list[str]:
    """A config file of one's own, as words of the command."""
    Path(name).write_text(yaml.safe_dump({part: {"init_args": settings} for part, settings in parts.items()}))
    return ["--config", name]


def build(*words: str, of: str = "tiny/lma.yaml", verb: str = "fit") -> BuildOnly:
    import_stages()
    return BuildOnly(verb, resolve_config_args(["--config", of, *words]))


def counted(made: BuildOnly, split: Any = "train") -> list[str]:
    return [Path(row.path).name for row in made.datamodule.rows(split)]


A, B = ["a0.mp4", "a1.mp4", "a2.mp4"], ["b0.mp4", "b1.mp4"]
SOURCES: list[tuple[Any, list[str]]] = [
    ("three.json", A),
    (["three.json"], A),
    (["three.json", "two.json"], A + B),
    ({"path": "three.json"}, A),
    ([{"path": "three.json", "root": "."}, "two.json"], A + B),
    ("one.jsonl", A[:1]),
    ("three.txt", A),
    ("clip.mp4", ["clip.mp4"]),
    ("clips", ["x.mp4", "y.mp4"]),
]


@pytest.mark.parametrize("first", range(0, len(SOURCES), len(SPLITS)))
def test_a_list_counts_its_rows_once(first: int) -> None:
    """As many as there are splits are parsed at once."""
    given = dict(zip(SPLITS, SOURCES[first:], strict=False))
    words = [word for split, (sources, _) in given.items() for word in (f"--data.{split}", as_word(sources))]
    by_words = build(*words)
    by_config = build(*config("mine.yaml", data={split: sources for split, (sources, _) in given.items()}))
    for split, (sources, rows) in given.items():
        assert counted(by_words, split) == counted(by_config, split) == rows, sources


def as_word(sources: Any) -> str:
    return sources if isinstance(sources, str) else json.dumps(sources)


@pytest.mark.parametrize(
    ("verb", "word"),
    [
        ("fit", "--data.{}=three.json"),
        ("test", "--data.init_args.{}=[three.json]"),
        ("predict", "--data.{}=three.json"),
    ],
)
def test_of_every_split_and_from_the_config_that_a_run_keeps(verb: str, word: str) -> None:
    made = build(*(word.format(split) for split in SPLITS), verb=verb)
    settings = yaml.safe_load(made.parser.dump(made.config, skip_none=False))[verb]
    Path("saved.yaml").write_text(yaml.safe_dump(settings))
    again = BuildOnly(verb, ["--config", "saved.yaml"])
    for split in SPLITS:
        assert counted(made, split) == counted(again, split) == A, split


def test_a_list_is_added_to_those_before() -> None:
    for words in (
        ["--data.train+=two.json"],
        ["--data.train+", "two.json"],
        config("mine.yaml", data={"train+": "two.json"}),
    ):
        assert counted(build("--data.train=three.json", *words)) == A + B
    made = build("--data.train=[three.json]", "--data.train+={path: two.json, root: .}", "--data.train+=clip.mp4")
    assert counted(made) == [*A, *B, "clip.mp4"]
    assert made.datamodule.sources["train"][1] == VideoSource("two.json", ".")
    assert counted(build("--data.train=null", "--data.train+=two.json")) == B


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ("[{path: three.json, wieght: 1}]", "wieght"),
        ("{path: three.json, weight: heavy}", "heavy"),
        ("[[x.json]]", "x.json"),
    ],
)
def test_what_is_neither_path_nor_source_is_refused(odd: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([f"--data.train={odd}"], config("mine.yaml", data={"train": yaml.safe_load(odd)})):
        with pytest.raises(SystemExit):
            build(*words)
        assert said in capsys.readouterr().err


def test_texts_of_other_settings_are_no_files_either() -> None:
    for name in ("cpu", "ddp", "OpenGVLab"):
        Path(name).write_text("class_path: no.such.Class")
    made = build("--trainer.accelerator=cpu", "--trainer.strategy=ddp")
    assert (made.settings.trainer.accelerator, made.settings.trainer.strategy) == ("cpu", "ddp")
    Path("teacher").write_text("elsewhere")
    assert build("--model.teacher=teacher", of="ctd.yaml").model.source == "teacher"
    Path("shapes.yaml").write_text("[{frames: 4, batch_size: 2}]")
    (shape,) = build("--data.shapes=shapes.yaml").datamodule.shapes
    assert (shape.frames, shape.batch_size) == (4, 2), "what can only be a file is one"


def test_which_types_hold_a_text() -> None:
    for kind in (str, str | None, list[str], str | list[str | VideoSource], list[int | str], str | TeacherSource):
        assert takes_text(kind)
    for kind in (int, VideoSource, list[VideoSource], dict[str, FrameSampler], FrameSampler | None):
        assert not takes_text(kind)


MIXER = {"encoder": {"temporal_mixer": "full"}}


@pytest.mark.parametrize(
    "words",
    [
        lambda: config("mine.yaml", model=MIXER),
        lambda: ["--model.encoder={temporal_mixer: full}"],
        lambda: ["--model.encoder.temporal_mixer=full"],
        lambda: ["--model.init_args.encoder.temporal_mixer", "full"],
        lambda: [*config("mine.yaml", model={"encoder": {"temporal_mixer": "none"}}), *config("b.yaml", model=MIXER)],
    ],
)
def test_the_encoders_fields_merge(words: Any) -> None:
    plain = build_stage("fit", "tiny/ctd.yaml").model.encoder_config.to_dict()
    made = build(*words(), of="tiny/ctd.yaml")
    assert made.model.encoder_config.to_dict() == {**plain, "temporal_mixer": "full"}
    settings = yaml.safe_load(made.parser.dump(made.config, skip_none=False))["fit"]
    Path("saved.yaml").write_text(yaml.safe_dump(settings))
    again = BuildOnly("fit", ["--config", "saved.yaml", "--model.encoder.clip_frames=8"])
    assert again.model.encoder_config.to_dict() == {**plain, "temporal_mixer": "full", "clip_frames": 8}


def test_an_unknown_field_of_the_encoder_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["--model.encoder.depth=3"],
        ["--model.encoder={depth: 3}"],
        config("m.yaml", model={"encoder": {"depth": 3}}),
    ):
        with pytest.raises((SystemExit, ConfigError)) as error:
            build(*words, of="tiny/ctd.yaml")
        assert "depth" in capsys.readouterr().err + str(error.value)


@pytest.mark.parametrize(
    "bad",
    [
        {"qkv_bias": 1},
        {"mlp_ratio": True},
        {"image_size": 112.0},
        {"downsample_after": "12"},
        {"downsample_after": [99]},
        {"downsample_strides": {"a": 1}},
        {"downsample_strides": [[]]},
        {"downsample_strides": [[1, "a", 1]]},
        {"temporal_mixer": "x"},
        {"hidden_size": [1]},
    ],
    ids=str,
)
def test_what_a_field_of_the_encoder_cannot_be_is_refused_by_name(
    bad: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    ((name, value),) = bad.items()
    ways = [config("bad.yaml", model={"encoder": bad})]
    if isinstance(value, list):
        ways += [[f"--model.encoder={json.dumps(bad)}"], [f"--model.encoder.{name}={json.dumps(value)}"]]
    for words in ways:
        with pytest.raises((SystemExit, ConfigError)) as error:
            build(*words, of="tiny/ctd.yaml")
        assert name in capsys.readouterr().err + str(error.value)


def test_an_encoder_in_python_may_be_a_dict() -> None:
    fields = {"hidden_size": 96, "num_attention_heads": 3, "downsample_after": [1, 2], "num_hidden_layers": 3}
    by_dict, by_class = (CTDStage(given).encoder_config for given in (fields, EncoderSettings(**fields)))
    assert by_dict.to_dict() == by_class.to_dict()


@pytest.mark.parametrize("none", [None, 5, "text", []], ids=str)
def test_a_group_of_settings_is_a_mapping(none: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for of, name in (("tiny/ctd.yaml", "encoder"), ("tiny/ctd.yaml", "optimizer"), ("tiny/lma.yaml", "lora")):
        for words in ([f"--model.{name}={json.dumps(none)}"], config("none.yaml", model={name: none})):
            with pytest.raises((SystemExit, ConfigError)) as error:
                build(*words, of=of)
            said = capsys.readouterr().err + str(error.value)
            assert name in said and len(said.splitlines()) <= 2


def test_other_mappings_merge_too() -> None:
    cache = build("--data.remote_cache={folder: c}", *config("a.yaml", data={"remote_cache": {"gigabytes": 5}}))
    assert (cache.datamodule.remote_cache.folder, cache.datamodule.remote_cache.gigabytes) == ("c", 5)
    lora = build("--model.lora.rank=4", *config("b.yaml", model={"lora": {"alpha": 7}})).model.lora
    assert lora == LoraSettings(4, 7)
    optimizer = build(*config("c.yaml", model={"optimizer": {"weight_decay": 0.5}})).model.optimizer_settings
    plain = build_stage("fit", "tiny/lma.yaml").model.optimizer_settings
    assert (optimizer.weight_decay, optimizer.lr, optimizer.betas) == (0.5, plain.lr, plain.betas)


@pytest.mark.parametrize(
    "words",
    [
        lambda: ["--model.lora.targets+=x"],
        lambda: ["--model.lora.targets+", "[x]"],
        lambda: ["--model.init_args.lora.targets+=x"],
        lambda: config("mine.yaml", model={"lora": {"targets+": ["x"]}}),
    ],
)
def test_what_is_added_to_a_default_leaves_the_default(words: Any) -> None:
    assert build("--model.lora.targets=[a]", *words()).model.lora.targets == ["a", "x"]
    assert build(*words(), "--model.lora.targets=[a]").model.lora.targets == ["a"]
    assert build(*words(), "--model.lora.targets+=[y, z]").model.lora.targets == [*LINEAR, "x", "y", "z"]
    assert LoraSettings().targets == LINEAR, "the default itself stays"


def test_a_list_that_is_set_and_added_to_in_one_config_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for part, settings in (
        ("data", {"train": "three.json", "train+": "two.json"}),
        ("model", {"lora": {"targets+": ["b"], "targets": ["a"]}}),
    ):
        with pytest.raises((ConfigError, SystemExit)) as error:
            build(*config("mine.yaml", **{part: settings}))
        assert "stand in one config; write one list" in capsys.readouterr().err + str(error.value)


def test_samplers_and_shapes_are_added_to_likewise() -> None:
    for words in (
        ["--data.sampler.strides+=32"],
        config("m.yaml", data={"sampler": {"init_args": {"strides+": [32]}}}),
    ):
        made = build("--data.sampler=RandomSegment", *words)
        assert made.datamodule.sampler == RandomSegment([*RandomSegment().strides, 32])
    assert build("--data.sampler=FpsCapped").datamodule.sampler == FpsCapped(1.0, "time")
    assert build("--data.sampler=FpsCapped", "--data.sampler.by=index").datamodule.sampler == FpsCapped(1.0, "index")
    with pytest.raises(DataError, match="Linspace.by is"):
        build("--data.sampler=Linspace", "--data.sampler.by=frames")
    plain = [(shape.frames, shape.batch_size) for shape in build_stage("fit", "tiny/lma.yaml").datamodule.shapes]
    more = build("--data.shapes+={frames: 3, batch_size: 2}").datamodule.shapes
    assert [(shape.frames, shape.batch_size) for shape in more] == [*plain, (3, 2)]


def test_the_seed_of_the_run_is_that_of_what_has_none_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # put back afterwards
    for of in ("tiny/lma.yaml", "tiny/ctd.yaml", "tiny/pretrain_llm.yaml"):
        for words, seeds in (
            ([], (0, 0)),
            (["--seed_everything=5"], (5, 5)),
            (["--seed_everything=5", "--model.seed=0", "--data.seed=3"], (0, 3)),
        ):
            made = build(*words, of=of)
            assert (made.model.seed, made.datamodule.seed) == seeds
    first, second = (build(f"--seed_everything={seed}", of="tiny/pretrain_vision.yaml").datamodule for seed in (1, 2))
    plans = [TrainBatchSampler(64, data.shapes, data.seed).batches(0) for data in (first, second)]
    assert next(plans[0]) != next(plans[1]), "another seed is another order"
