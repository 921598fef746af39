"""Credentials stay on the machine: they are in no record of a run, in no logger, and asked for again by `rerun`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from lightning.pytorch.loggers import Logger

from liteframe.command import cli
from liteframe.run_control.redaction import REDACTED, redacted, redacted_settings, redacted_words
from toy_stage import write_toy_config


@pytest.mark.parametrize(
    "name",
    [
        "key",
        "api_key",
        "apiKey",
        "api-key",
        "API_KEY",
        "apikey",
        "hf_token",
        "token",
        "password",
        "secret",
        "aws_secret_access_key",
        "client_secret",
        "accountKey",
        "api_keys",
        "logger.init_args.token",
        "credentials",
    ],
)
def test_what_is_called_a_credential(name: str) -> None:
    assert redacted({name: "abc", "other": "abc"}) == {name: REDACTED, "other": "abc"}
    assert redacted({"a": [{name: ["abc", 5]}]}) == {"a": [{name: [REDACTED, REDACTED]}]}
    assert redacted({name: {"user": "abc"}}) == {name: {"user": REDACTED}}
    assert redacted({name: None}) == {name: None} and redacted({name: True}) == {name: True}


@pytest.mark.parametrize(
    "name",
    [
        "max_tokens",
        "key_frames",
        "decode_deadline_s",
        "class_token_similarity",
        "keys",
        "monkey",
        "tokenizer",
        "keyframe",
        "secretary",
    ],
)
def test_what_is_not(name: str) -> None:
    assert redacted({name: "abc"}) == {name: "abc"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("https://user:PASSWORD@host:80/a/b", f"https://{REDACTED}@host:80/a/b"),
        ("s3://KEY:SEC/RET@bucket/v", f"s3://{REDACTED}@bucket/v"),
        ("s3://KEY:SEC@RET@bucket/v", f"s3://{REDACTED}@bucket/v"),
        ("https://TOKEN@host/a", f"https://{REDACTED}@host/a"),
        ("https://h/v.mp4?X-Amz-Signature=abc&b=c", f"https://h/v.mp4?{REDACTED}"),
        ("first https://h/a?b=c, then rtsp://a:b@h/c", f"first https://h/a?{REDACTED} then rtsp://{REDACTED}@h/c"),
        ("hf://datasets/org/name@main/a", "hf://datasets/org/name@main/a"),
        ("s3://host:9000/bucket/a@b", "s3://host:9000/bucket/a@b"),
        ("sqlite:///runs/mlflow.db", "sqlite:///runs/mlflow.db"),
        ("Is it red? Ask me@home.", "Is it red? Ask me@home."),
        ("runs/what?.txt", "runs/what?.txt"),
    ],
)
def test_urls_keep_what_they_name_and_nothing_else(text: str, told: str) -> None:
    assert redacted(text) == told == redacted(told)


def test_words_of_a_command() -> None:
    words = [
        "--config",
        "a.yaml",
        "--trainer.logger.api_key=ABC",
        "--trainer.logger.token",
        "ABC",
        "--data.x+=s3://a:b@c",
    ]
    words += [
        "--trainer.logger",
        '{class_path: L, init_args: {api_key: ABC, name: "x"}}',
        "--m.list=[a, b]",
        "--m.max_tokens=5",
    ]
    told = redacted_words(words)
    assert told[:4] == ["--config", "a.yaml", f"--trainer.logger.api_key={REDACTED}", "--trainer.logger.token"]
    assert told[4:6] == [REDACTED, f"--data.x+=s3://{REDACTED}@c"]
    assert json.loads(told[7]) == {"class_path": "L", "init_args": {"api_key": REDACTED, "name": "x"}}
    assert told[8:] == ["--m.list=[a, b]", "--m.max_tokens=5"]
    assert redacted_words(told) == told


class Elsewhere(Logger):
    """A logger that keeps nothing here. It wants credentials, and gives what it was told."""

    told: ClassVar[list[Any]] = []

    def __init__(self, api_key: str, tracking_uri: str = "") -> None:
        super().__init__()
        self.api_key = api_key
        Elsewhere.told.append(api_key)

    name = version = "elsewhere"

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        pass

    def log_hyperparams(self, params: Any) -> None:
        Elsewhere.told.append(params)


def test_no_credential_is_recorded_or_logged_and_rerun_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_toy_config(tmp_path)
    Elsewhere.told.clear()
    words = ["--config=toy.yaml", "--trainer.max_steps=2", "--trainer.default_root_dir=run"]
    logger = ["--trainer.logger=test_redaction.Elsewhere", "--trainer.logger.api_key", "SECRETKEY"]
    logger += ["--trainer.logger.tracking_uri=https://user:PASSWORD@host/"]
    for more in ([], ["--ckpt_path=last", "--trainer.max_steps=4"]):
        assert cli.main(["fit", *words, *logger, *more]) == 0
        assert Elsewhere.told[0] == "SECRETKEY"
        (params,) = Elsewhere.told[1:]
        assert params["trainer"]["max_steps"] in (2, 4) and "logger" not in params["trainer"]
        record = Path("run/run.json").read_text()
        assert not any(secret in record + str(params) for secret in ("SECRETKEY", "PASSWORD"))
        Elsewhere.told.clear()
    assert list(redacted_settings(json.loads(record)["config"])) == [
        "trainer.logger.init_args.api_key",
        "trainer.logger.init_args.tracking_uri",
    ]
    capsys.readouterr()
    (tmp_path / "keys.yaml").write_text("trainer: {logger: {init_args: {api_key: OTHER}}}")
    assert cli.main(["rerun", "run", "--allow-code", "--config", "keys.yaml"]) == 1
    said = capsys.readouterr().err
    assert "trainer.logger.init_args.tracking_uri had some" in said and "--config FILE" in said
    assert "api_key" not in said and not Path("run-rerun").exists()
    (tmp_path / "keys.yaml").write_text("trainer: {logger: {init_args: {api_key: OTHER, tracking_uri: x}}}")
    assert cli.main(["rerun", "run", "--allow-code", "--config", "keys.yaml"]) == 0
    assert Elsewhere.told[0] == "OTHER" and "OTHER" not in Path("run-rerun/run.json").read_text()
    assert cli.main(["rerun", "run", "--config", "toy.txt"]) == 1
    assert "--config toy.txt: cannot be read" in capsys.readouterr().err
