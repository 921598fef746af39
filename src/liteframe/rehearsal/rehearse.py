"""A rehearsal: small models, cut configs, and every stage as a command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from transformers.utils.logging import disable_progress_bar

from liteframe.command.lightning_cli import data_settings_told
from liteframe.errors import ConfigError
from liteframe.rehearsal.configs import CACHE, CTD, LMA, StageRun, parse, read_runs
from liteframe.rehearsal.cuts import STOP_AFTER, Places, cut, layers_of, lists_of, processes_of, teacher_of, videos_of
from liteframe.rehearsal.real_size import check_real_size, chosen
from liteframe.rehearsal.report import NOT_REHEARSED, failure, summary, table_of_cuts, table_of_model
from liteframe.rehearsal.small_models import SmallModel, make_small_model, make_small_timm
from liteframe.rehearsal.steps import ENDED_BY_SIGTERM, RANK_LOST, Result, Step, run_step
from liteframe.system.atomic import atomic_write_text

_FOLDER = "runs/rehearsal"
_QUESTION = "What happens first in the video?"
_TEST_VIDEOS = 8


def rehearse(
    config: Sequence[str],
    set: Sequence[str],
    out: str | None,
    processes: int | None,
    only: Sequence[str] | None,
    allow_code: bool,
) -> int:
    """Carries out `rehearse_command`, whose docstring describes the arguments, and returns its exit code.

    Raises:
        LiteFrameError: a config that would fail on the node, or cannot be rehearsed.
    """
    disable_progress_bar()
    home = _new_folder(out).absolute()
    runs = chosen(read_runs(config, set, allow_code), only)
    unseen = [line for run in runs if (line := check_real_size(run))]
    (home / "models").mkdir(parents=True)
    ranks = {run.kind: processes or processes_of(run) for run in runs}
    models = _make_models(runs, home / "models")
    places = Places(home, models)
    print(f"rehearsal in {home}; every config at its real size: ok")
    _print_lines(unseen)
    for model in models.values():
        print(f"\n{table_of_model(model, home)}")
    steps = [_synth(runs, ranks, places)]
    for run in runs:
        steps += _steps_of(run, places, ranks[run.kind])
    steps += _afterwards(runs, places)
    print("\nnot rehearsed:")
    _print_lines(NOT_REHEARSED)
    print(
        "\nall else is as configured: strategy, samplers, losses, optimizer, clipping, callbacks, checkpoints, errors\n"
    )
    results = _run(steps, places, max(map(lists_of, runs)))
    print(f"\n{summary(results, len(steps), home)}")
    if not results[-1].went_well:
        print(f"\n{failure(results[-1])}")
        return 1
    return 0


def _print_lines(lines: Sequence[str]) -> None:
    for line in lines:
        print(f"  {line}")


def _new_folder(out: str | None) -> Path:
    """A folder that is not there. Raises ConfigError for a given one that is."""
    home = Path(out or _FOLDER)
    number = 1
    while out is None and home.exists():
        number += 1
        home = Path(f"{_FOLDER}-{number}")
    if home.exists():
        raise ConfigError(f"--out {out}: exists; give a folder that does not")
    return home


def _make_models(runs: Sequence[StageRun], folder: Path) -> dict[str, SmallModel]:
    """The small models, by what they stand for."""
    models: dict[str, SmallModel] = {}
    for run in runs:
        teacher = teacher_of(run)
        if teacher is not None and teacher[0] not in models:
            source, family = teacher
            make = (
                make_small_timm if family == "TimmViT" else lambda name, to, of=family: make_small_model(name, of, to)
            )
            models[source] = make(source, folder / f"model-{len(models) + 1}")
        if run.kind == CTD and (name := run.model.get("timm_weights")):
            layers = layers_of(run.model.get("encoder") or {})
            models[name] = make_small_timm(name, folder / f"model-{len(models) + 1}", layers=layers)
    return models


def _synth(runs: Sequence[StageRun], ranks: dict[Any, int], places: Places) -> Step:
    train = max(videos_of(run, ranks[run.kind]) for run in runs)
    val = max(ranks.values())
    words = (str(places.home / "world"), f"--train={train}", f"--val={val}", f"--test={max(_TEST_VIDEOS, val)}")
    return Step("synth", ("synth", *words))


def _steps_of(run: StageRun, places: Places, processes: int) -> list[Step]:
    """Writes the cut config of a stage, prints it, and gives the commands."""
    name = run.kind.name
    path = places.home / f"{name}-cut.yaml"
    cuts = cut(run, places, processes)
    atomic_write_text(path, yaml.safe_dump(cuts, sort_keys=False))
    words = (*run.words, "--config", str(path), *_size_told(run, cuts))
    print(f"\n{table_of_cuts(name, run.settings, parse(run.kind.verb, words), places.home)}")
    verb = run.kind.verb
    if not run.given or run.kind.name == "evaluate":
        return [Step(name, (verb, *words))]
    kill = run.kind == CTD and processes > 1  # the other ranks then save what there is; a sharded LMA cannot
    stop = {
        "class_path": "liteframe.rehearsal.stop_after.StopAfter",
        "init_args": {"steps": 1 if run.kind == CACHE else STOP_AFTER, "kill": kill},
    }
    go_on = ("--ckpt_path=last",) if verb == "fit" else ()
    words_stopped = (verb, *words, f"--trainer.callbacks+={json.dumps(stop)}")
    return [
        Step(f"{name}, a rank killed", words_stopped, RANK_LOST, f"(after step {STOP_AFTER})")
        if kill
        else Step(f"{name}, stopped", words_stopped, ENDED_BY_SIGTERM),
        Step(f"{name}, going on", (verb, *words, *go_on)),
    ]


def _size_told(run: StageRun, cuts: dict[str, Any]) -> tuple[str, ...]:
    """A size of frames that the command line itself gave, cut down: an evaluation takes others of it alone."""
    if "image_size" not in data_settings_told(run.words):
        return ()
    return (f"--data.image_size={json.dumps(cuts['data']['init_args'].get('image_size'))}",)


def _afterwards(runs: Sequence[StageRun], places: Places) -> list[Step]:
    """Export and chat of what LMA made."""
    if all(run.kind != LMA for run in runs):
        return []
    model = str(places.home / "model")
    video = str(places.home / "world" / "test" / "00000.mp4")
    return [
        Step("export", ("export", str(places.run("lma")), model)),
        Step("chat", ("chat", model, video, _QUESTION, "--device=cpu", "--max_tokens=8")),
    ]


def _run(steps: Sequence[Step], places: Places, parts: int) -> list[Result]:
    """The results of the steps, up to the first that fails."""
    results: list[Result] = []
    for number, step in enumerate(steps, start=1):
        print(f"[{number}/{len(steps)}] {step.command_line()}", flush=True)
        results.append(run_step(step, places.home / "logs"))
        if not results[-1].went_well:
            break
        if step.name == "synth":
            _part_lists(places, parts)
    return results


def _part_lists(places: Places, parts: int) -> None:
    """Writes each list in so many parts beside it, for configs that mix lists."""
    for split in ("train", "val", "test"):
        lines = Path(places.videos(split)).read_text(encoding="utf-8").splitlines(keepends=True)
        for part in range(parts):
            atomic_write_text(Path(places.videos(split, part + 1)), "".join(lines[part::parts]))
