"""Which settings and options may be an address (`s3://...`); all others name files of this machine, and say so.

The rule is one of refusal: what is not named here is refused, so that no setting takes an address for a folder whose
name begins with `s3:`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from typing import Any

from liteframe.errors import ConfigError
from liteframe.system.shown_url import shown_url

_ADDRESS = re.compile(r"(?:[\w+.-]+::)*[A-Za-z][A-Za-z0-9+.-]+:/\S*")
SETTINGS = frozenset(
    (
        *(f"data.{split}{field}" for split in ("train", "val", "test", "predict") for field in ("", ".path", ".root")),
        *("data.store", "model.statistics"),
        *("model.teacher", "model.teacher.source", "model.host", "model.encoder", "model.source"),
    )
)
"""Of stages."""
OPTIONS = frozenset(
    (
        *("plan --config", "cache --config", "rehearse --config", "cache --address"),
        *("check --source", "check --root", "upload --address", "export --out", "export --host"),
        *("chat --model", "chat --video", "serve --model", "demo --model", "demo --teacher", "evaluate --model"),
    )
)
"""Of other verbs. What a video is, `chat` judges itself."""
_OF_OTHERS = re.compile(r"(?:.*[._])?(?:ur[li]|ckpt_path|--allowed_media_domains|--config|config)")
"""Names that say themselves that they are addresses, or whose reader refuses them in its own words."""
_FOLDERS = {
    "trainer.default_root_dir": "a run has locks, lists that grow and files that are renamed into place, which buckets"
    " do not have; keep it on a disk, and copy it with `liteframe upload RUN ADDRESS`",
    "model.store": "a store is written on a disk; give a folder here, and copy it with `liteframe upload STORE ADDRESS`"
    " once it is finished: data.store reads it there",
    "data.store_root": "give the folder that the videos lie in on this machine",
}
_FOLDERS["default_root_dir"] = _FOLDERS["trainer.default_root_dir"]
_ELSEWHERE = (
    "only files and folders of this machine are meant here; copy what is to be read here first, and what was written"
    " with `liteframe upload FOLDER ADDRESS`"
)


def require_local_settings(settings: Any) -> None:
    """Raises ConfigError where a setting of a stage is an address and must not be one.

    Args:
        settings: as the parser gives them, by verb.
    """
    for setting, text in _texts(settings, ""):
        name = ".".join(part for part in setting.split(".")[1:] if part != "init_args")
        if name not in SETTINGS:
            _require_local(name, text)


def require_local_options(verb: str, values: Mapping[str, Any]) -> None:
    """Raises ConfigError where an option of a verb is an address and must not be one."""
    for name, text in _texts(values, ""):
        if f"{verb} --{name}" not in OPTIONS:
            _require_local(f"--{name}", text)


def _require_local(name: str, text: str) -> None:
    if _ADDRESS.fullmatch(text) is None or _OF_OTHERS.fullmatch(name):
        return
    raise ConfigError(f"{name} is {shown_url(text)}, an address; {_FOLDERS.get(name, _ELSEWHERE)}")


def _texts(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """All texts with the dotted names of their settings; those of a list have its name."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item, name)
    elif isinstance(value, Mapping | argparse.Namespace):
        for key, item in (value if isinstance(value, Mapping) else vars(value)).items():
            yield from _texts(item, f"{name}.{key}" if name else str(key))
