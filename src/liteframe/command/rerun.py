"""``liteframe rerun``: a run once more, from what its `run.json` says alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from liteframe.errors import ConfigError
from liteframe.system.bounded_text import parse_yaml

_HEADER = "# lightning.pytorch==, of a run that is repeated\n"
"""By which a config counts as one of a run folder, which may name known code alone."""
_PLACES = ("dir", "dirpath")


def rerun_command(
    run: str,
    *,
    out: str | None = None,
    folder: str | None = None,
    config: str | None = None,
    changed_data: bool = False,
    allow_code: bool = False,
) -> int:
    """Repeat a run with the same settings, seeds and data in a new folder, and say whether the same came out.

    Args:
        run: a run folder, or the run.json (run-test.json, ...) in one.
        out: the new run folder; by default that of the run with -rerun behind its name.
        folder: working folder that the settings' relative paths are seen from; by default that of the run.
        config: YAML file of settings over those of the run, for the credentials that its record does not hold.
        changed_data: go on where lists, stores or models have changed since.
        allow_code: let the settings name any class or function; it runs as you then.

    Raises:
        ConfigError: no run's record, data that have changed, a folder that is in use, or credentials that are needed.
        LiteFrameError: what the stage raises.
    """
    from lightning.pytorch.utilities import rank_zero_only

    from liteframe.command.cli import CHILD_ARGS, dispatch
    from liteframe.command.code_names import ALLOW_CODE
    from liteframe.command.library_warnings import warn
    from liteframe.pipeline.isolation import isolated
    from liteframe.run_control.redaction import redacted_settings
    from liteframe.run_control.run_inputs import differences
    from liteframe.run_control.run_record import read_run_record, record_name, version_differences

    path, over = _record_of(Path(run)), _mapping_in(config)
    record = read_run_record(path)
    new = Path(out or f"{path.parent.resolve()}-rerun").absolute()
    is_first = getattr(rank_zero_only, "rank", 0) == 0
    if is_first and new.exists() and (not new.is_dir() or any(new.iterdir())):
        raise ConfigError(f"{new}: is not empty; give another --out")
    work = Path(folder or record["folder"])
    if not work.is_dir():
        raise ConfigError(
            f"{path}: the run was started in {work}, which is not here; give --folder, where its paths are"
        )
    settings = _merged(_settings(record, new), over)
    if missing := list(redacted_settings(settings)):
        raise ConfigError(
            f"{path}: holds no credentials, and {' and '.join(missing)} had some; give these settings again in a file,"
            " --config FILE"
        )
    with _working_in(work), TemporaryDirectory() as scratch:
        if (changes := list(differences(record["inputs"]))) and not changed_data:
            raise ConfigError(f"{path}: {'; '.join(changes)}; put it back, or give --changed_data to go on with it")
        if is_first:
            for text in (*changes, *_notes(record)):
                warn(text)
            if versions := list(version_differences(record)):
                warn(f"numbers may differ in their last digits: {'; '.join(versions)}")
        file = Path(scratch) / "config.yaml"
        file.write_text(_HEADER + json.dumps(settings), encoding="utf-8")
        words = [record["verb"], *([ALLOW_CODE] if allow_code else []), "--config", str(file)]
        with isolated(record["seed"], {CHILD_ARGS: json.dumps(words)}):
            code = dispatch(words)
        if is_first and not code:
            print(_comparison(record, read_run_record(new / record_name(record["verb"]))))
    return code


@contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _record_of(path: Path) -> Path:
    """The record that a file or a run folder stands for."""
    if path.is_file():
        return path
    found = [path / "run.json"] if (path / "run.json").is_file() else sorted(path.glob("run-*.json"))
    if not found:
        raise ConfigError(f"{path}: holds no run.json; give the folder of a run of this version or later")
    if len(found) > 1:
        raise ConfigError(f"{path}: holds {' and '.join(file.name for file in found)}; give one of them")
    return found[0]


def _mapping_in(config: str | None) -> dict[str, Any]:
    if config is None:
        return {}
    try:
        value = parse_yaml(Path(config).read_text(encoding="utf-8"), config)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {config}: cannot be read ({error}); give a YAML file of settings") from error
    if not isinstance(value, dict):
        raise ConfigError(f"--config {config}: holds no settings; give a YAML file of them, such as `trainer: ...`")
    return value


def _merged(settings: Any, over: Any) -> Any:
    """Settings with others over them; a list is replaced as a whole."""
    if not isinstance(settings, dict) or not isinstance(over, dict):
        return over
    return {**settings, **{name: _merged(settings.get(name), value) for name, value in over.items()}}


def _settings(record: Mapping[str, Any], new: Path) -> dict[str, Any]:
    """The run's config with the new folder in the place of its own wherever it writes."""
    old = Path(record["run_folder"])

    def moved(value: Any, name: str = "") -> Any:
        if isinstance(value, Mapping):
            return {key: moved(inner, str(key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [moved(inner, name) for inner in value]
        if not isinstance(value, str) or not name.endswith(_PLACES):
            return value
        place = Path(record["folder"], value)
        if place.is_relative_to(old):
            return str(new / place.relative_to(old))
        return None if name == "dirpath" else value  # of checkpoints, which go into the run folder then

    config: dict[str, Any] = {**record["config"], "seed_everything": record["seed"]}
    config["trainer"] = {**moved(config.get("trainer", {})), "default_root_dir": str(new)}
    for name in record["outputs"]:
        *above, last = name.split(".")
        inner: Any = config
        for key in above:
            inner = inner[key]
        if inner.get(last) is not None:
            inner[last] = str(new / Path(inner[last]).name)
    config.pop("shard", None)  # the stage's own setting says it, and `new` is the folder of the shard
    config["ckpt_path"] = None if record["goes_on"] else record.get("from_checkpoint")
    return config


def _notes(record: Mapping[str, Any]) -> Iterator[str]:
    if record.get("status") != "finished":
        yield f"the run did not finish (status {record.get('status')}), so there is nothing to compare with"
    if record["goes_on"]:
        yield "the run went on from a checkpoint of its own; it is repeated from the beginning, with its last settings"


def _comparison(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Whether two runs made the same, in a line."""
    results, place = before.get("results") or {}, f"{now['run_folder']}"
    if not results:
        return f"repeated in {place}; the run before left no result to compare with"
    differ = [name for name, facts in results.items() if now["results"].get(name) != facts]
    names = " and ".join(differ or results)
    return f"repeated in {place}: {names} {'differs' if differ else 'is the same, bit for bit'}"
