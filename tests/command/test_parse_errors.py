"""What the parser refuses is said in one line, behind the file that it stands in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from liteframe.command import cli
from liteframe.command.parse_errors import configs_of
from liteframe.command.trainer_settings import require_mesh
from liteframe.errors import ConfigError
from toy_stage import write_toy_config

_LOGGER = "{class_path: CSVLogger, init_args: {save_dir: a, flush_logs_every_n_steps: 1:30}}"
MESH = "trainer.strategy.init_args"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_toy_config(tmp_path)
    return tmp_path


def refusal(capsys: pytest.CaptureFixture[str], *words: str, code: int, verb: str = "fit") -> str:
    assert cli.main([verb, "--config=toy.yaml", "--trainer.default_root_dir=run", *words]) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(lines) == 1 and lines[0].startswith("liteframe: error: ")
    assert not Path("run").exists(), "nothing was begun"
    return lines[0]


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("", 1, "holds no settings"),
        ("# a comment\n", 1, "holds no settings"),
        ("[1, 2]", 1, "holds a list"),
        ("model: ToyStage\nmodel: ToyStage\n", 1, "line 2: model is given twice"),
        ("trainer:\n  max_steps: 3\n  max_steps: 4\n", 1, "line 3: max_steps is given twice"),
        ("a: [1,\nb: }", 1, "not YAML (expected the node content, but found '}': line 2, column 4); repair it"),
        (
            "trainer:\n\tmax_steps: 1\n",
            1,
            "not YAML (found character '\\t' that cannot start any token: line 2, column",
        ),
        ("1: 2", 1, "1 is no name of a setting"),
        ("trainer: {max_stepss: 3}", 2, "does not accept option 'trainer.max_stepss'"),
        ("trainer: {max_steps: many}", 2, "\"trainer.max_steps\": Expected a <class 'int'>. Got value: many"),
        ("trainer: {precision: bf17}", 2, '"trainer.precision"'),
        ("model: {class_path: CTDStag}", 2, "CTDStag"),
        ("model: {class_path: no.such.Stage}", 2, "No module named 'no'"),
        ("trainer: {callbacks: [{class_path: EarlyStopping}]}", 2, "the following arguments are required: monitor"),
        ("trainer: [1]", 1, "trainer is [1]; it is a mapping"),
        ("trainer: {logger: {class_path: CometLogger}}", 1, "loggers.CometLogger: Requirement 'comet-ml"),
    ],
)
def test_a_config_that_cannot_be_taken_is_named(
    text: str, code: int, said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "mine.yaml").write_text(text)
    error = refusal(capsys, "--config=mine.yaml", code=code)
    assert said in error and len(error) < 700
    assert str(here / "mine.yaml") in error or "Logger" in text


def test_words_of_the_command_line_are_no_files_fault(capsys: pytest.CaptureFixture[str]) -> None:
    error = refusal(capsys, "--trainer.max_steps=many", code=2)
    assert "toy.yaml" not in error and '"trainer.max_steps"' in error
    assert configs_of(["fit", "--config", "a", "-c=b", "--config=c", "-c", "d"]) == ["b", "c", "a", "d"]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches is 0; give at least 1"),
        ("trainer.gradient_clip_val=-1", "trainer.gradient_clip_val is -1"),
        ("trainer.check_val_every_n_epoch=0", "trainer.check_val_every_n_epoch is 0"),
        ("trainer.val_check_interval=0", "trainer.val_check_interval is 0"),
        ("trainer.log_every_n_steps=-1", "trainer.log_every_n_steps is -1"),
        ("trainer.num_sanity_val_steps=-2", "trainer.num_sanity_val_steps is -2"),
        ("seed_everything=-1", "seed_everything is -1; give a whole number from 0 to"),
        ("seed_everything=4294967296", "seed_everything is 4294967296"),
        ("trainer.default_root_dir=", "trainer.default_root_dir is empty"),
        ("trainer.max_steps=-5", "trainer: `max_steps` must be a non-negative integer"),
        ("trainer.max_time=soon", "trainer: `Timer(duration='soon')` is not a valid duration"),
        ("trainer.devices=two", "trainer (accelerator cpu, devices two)"),
        ("ckpt_path=best", "--ckpt_path is best; give a checkpoint's file"),
        ("ckpt_path=", "--ckpt_path is empty"),
        ("trainer.callbacks.init_args.dirpath=toy.yaml", "toy.yaml: is a file, and a folder is to be written there"),
    ],
)
def test_settings_that_no_run_can_have(setting: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in refusal(capsys, f"--{setting}", code=1)


def test_settings_that_do_not_go_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fit", "--config=toy.yaml", "--trainer.val_check_interval=1000", "--data.validate=true"]) == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error and "liteframe: error: trainer: `val_check_interval` (1000) must be less" in error


@pytest.mark.parametrize(
    ("sizes", "devices", "said"),
    [
        ((8, 1), 2, "2 x 1 devices (trainer.devices x num_nodes); set it to 2"),
        ((8, 1), 1, "1 x 1 devices (trainer.devices x num_nodes); set it to 1"),
        ((2, 2), 2, "set it to 1"),
        ((1, 3), 2, "choose sizes"),
        (("auto", 3), 2, "choose sizes"),
        ((3, "auto"), 2, "set it to 1"),
        ((0, 0), 2, "choose sizes"),
    ],
)
def test_weights_are_shared_out_over_the_devices_that_there_are(
    sizes: tuple[Any, Any], devices: int, said: str
) -> None:
    named = f"{MESH}.data_parallel_size is {sizes[0]} and tensor_parallel_size {sizes[1]}, but "
    with pytest.raises(ConfigError) as error:
        require_mesh(*sizes, devices)
    assert str(error.value).startswith(named) and said in str(error.value)


@pytest.mark.parametrize("sizes", [(8, 1), ("auto", 3)])
def test_sizes_that_do_not_fit_are_said_before_the_ranks_start_and_in_a_plan(
    sizes: tuple[Any, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [f"{MESH}.data_parallel_size={sizes[0]}", f"{MESH}.tensor_parallel_size={sizes[1]}"]
    settings += ["trainer.accelerator=cpu", "trainer.devices=2"]
    own, planned = (["--config=toy.yaml", "--config=trainer/fsdp.yaml"], ["--config", "ctd.yaml", "trainer/fsdp.yaml"])
    words = [["fit", *own, *(f"--{setting}" for setting in settings)], ["plan", *planned, "--set", *settings]]
    for command in words:
        assert cli.main(command) == 1
        error = capsys.readouterr().err
        assert "Traceback" not in error and error.count("\n") == 1
        assert f"{MESH}.data_parallel_size is {sizes[0]} and" in error and "the run has 2 x 1 devices" in error


@pytest.mark.parametrize("output", ["notes.txt", "notes.json", ".", "notes.txt/x.json"])
def test_a_record_is_not_written_over_another_file(output: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("notes.txt", "notes.json"):
        (here / name).write_text('{"mine": 1}' if name.endswith("json") else "mine")
    for words in (["plan", "--config=ctd.yaml"], ["latency"]):
        assert cli.main([*words, "--output" if words[0] == "plan" else "--out", output]) == 1
        error = capsys.readouterr().err
        assert f"{output}: " in error and error.count("\n") == 1
    assert (here / "notes.txt").read_text() == "mine" and (here / "notes.json").read_text() == '{"mine": 1}'


def test_a_verb_that_a_recipe_cannot_run_is_said_before_its_first_stage(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "mine.yaml").write_text("stages: [{name: a, verb: doctor}, {name: b, verb: fitt}]")
    assert cli.main(["pipeline", "mine.yaml", "--run=runs"]) == 1
    assert "mine.yaml: stage b: no verb 'fitt'; there are fit, " in capsys.readouterr().err
    assert not (here / "runs").exists()


@pytest.mark.parametrize("words", [["seeds"], ["plan", "--videos=x"], ["doctor", "extra"], ["check", "a", "--nope"]])
def test_options_that_do_not_parse_are_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("liteframe: error: ") and error.endswith(
        f"`liteframe {words[0]} --help` lists the options\n"
    )
    assert error.count("\n") == 1


def test_what_the_system_says_of_a_file_is_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["synth", "toy.yaml"]) == 1
    assert capsys.readouterr().err == "liteframe: error: toy.yaml: File exists; give another place\n"


@pytest.mark.parametrize("name", ["--data.init_args.start", "--data.start"])
def test_a_number_with_a_colon_on_the_command_line_is_told(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """YAML reads 1:30 as 90."""
    assert f"{name} 1:30 is read as 90" in refusal(capsys, name, "1:30", code=1)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--trainer.devices=[1:30]", "YAML reads 1:30 as a number to the base 60"),
        ("--trainer.devices=[0, 010]", "YAML reads 010 as a number to the base 8"),
        ("--trainer.devices=- 010", "YAML reads 010 as a number to the base 8"),
        (
            f"--trainer.logger={_LOGGER}",
            "YAML reads 1:30 as a number to the base 60",
        ),
        ("--trainer.max_steps=0_10", "is read as 8, to the base 8"),
        ("--trainer.callbacks.init_args.every_n_train_steps=1:30", "is read as 90, to the base 60"),
    ],
)
def test_numbers_to_old_bases_are_told_wherever_they_stand(
    word: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refusal(capsys, word, code=1)
    assert word.replace("=", " ", 1) in error and said in error


def test_texts_with_a_colon_and_plain_numbers_with_a_zero_are_fine(capsys: pytest.CaptureFixture[str]) -> None:
    """A setting is refused that is looked at later, with the number that was read."""
    texts = ["--trainer.max_time=1:30", "--ckpt_path=[1:30]"]
    logger = "--trainer.logger={class_path: CSVLogger, init_args: {save_dir: '1:30'}}"
    numbers = ["--data.start", "010", "--trainer.devices=[10]", "--trainer.accumulate_grad_batches=-010"]
    error = refusal(capsys, *texts, logger, *numbers, code=1)
    assert "trainer.accumulate_grad_batches is -10; give at least 1" in error
