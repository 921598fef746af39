"""Folders of models, which may have come from anywhere: they are data, and none of their files leads out of them.

Nothing in them is code to run or a pickle to load. A hub id stands for the folder of its snapshot in the hub's cache.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import file_exists, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from liteframe.data.remote.fetched import fetched_folder
from liteframe.data.remote.file import is_url
from liteframe.errors import ConfigError
from liteframe.models.folders.config_limits import require_sane
from liteframe.models.folders.tokenizer_file import require_bounded_steps
from liteframe.system.bounded_text import parse_json
from liteframe.system.contained_path import OutsideRoot, contained, in_hub_blobs
from liteframe.system.shown_url import shown_url

CONFIG, INDEX, SINGLE = "config.json", "model.safetensors.index.json", "model.safetensors"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
SMALL_FILES = ("*.json", "*.jinja", "*.txt", "*.model")
"""What a model has beside its weights."""
_READ = ("*.json", "*.jinja", "*.safetensors")
_CONFIGS = (
    *(CONFIG, "generation_config.json", "preprocessor_config.json", "processor_config.json"),
    "video_preprocessor_config.json",
)
_TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json"),
    "chat_template.json",
)
_MOST_CONFIG_BYTES = 8_000_000
_MOST_JSON_BYTES = 256_000_000
_GIVE = "give a folder with config.json and safetensors, or a hub id that can be reached from here"
_ADVICE = "copy or download the folder again from where it was published"


def local_folder(source: str, names: Sequence[str] = SMALL_FILES, **options: Any) -> Path:
    """The folder of a model on this machine.

    Args:
        source: the folder, its address (`s3://bucket/model`), or a hub id.
        names: patterns of the files that a hub id is asked for, or an address, of which all files come where those
            are not small ones only.
        options: `revision`, `token`, `cache_dir` and `local_files_only` of the hub.

    Raises:
        ConfigError: there is no such folder and no such model on the hub (or no hub).
    """
    if os.path.isdir(source):  # False too for what is no name at all
        return Path(source)
    if is_url(source):
        return _fetched(source, names)
    if not options:
        _find_on_hub(source)
    try:
        return Path(snapshot_download(source, allow_patterns=list(names), **options))
    except Exception as error:  # the hub's client has no common base for "not reachable"
        raise ConfigError(f"{source}: cannot be fetched from the hub ({error}); give a folder") from error


def _fetched(url: str, names: Sequence[str]) -> Path:
    """A copy of the model folder at an address."""
    small = all(name in SMALL_FILES for name in names)
    folder = fetched_folder(url, lambda name: not small or any(fnmatch(name, pattern) for pattern in SMALL_FILES))
    if folder is None:
        raise ConfigError(f"{shown_url(url)}: nothing lies there; give the address of a model's folder")
    return folder


def whole_folder(source: str | os.PathLike[str]) -> str:
    """The folder of a model that lies at an address, with all that is in it; any other name as it is."""
    return str(_fetched(str(source), ["*"])) if is_url(str(source)) else str(source)


def require_folder_or_hub_id(source: str) -> None:
    """Raises ConfigError where a name is no folder or address and cannot be a hub id either; asks nobody."""
    if os.path.isdir(source) or is_url(source):
        return
    try:
        validate_repo_id(source)
    except HFValidationError as error:
        raise ConfigError(f"no model folder {source!r}; {_GIVE}") from error


def _find_on_hub(source: str) -> None:
    """The local cache, then one question, no retries: a machine without network gets its answer at once."""
    require_folder_or_hub_id(source)
    try:
        found = try_to_load_from_cache(source, CONFIG) is not None or file_exists(source, CONFIG)
    except Exception as error:  # the hub's client has no common base for "not reachable"
        raise ConfigError(f"no model folder {source!r}, and the hub cannot be asked for it; {_GIVE}") from error
    if not found:
        raise ConfigError(f"no model folder {source!r}, and no such model on the hub; {_GIVE}")


def model_file(folder: Path, name: str) -> Path | None:
    """A file of a model's folder; None if it is not there.

    In the hub's cache files are links into the `blobs` of their own repository, and those are good.

    Raises:
        ConfigError: the name, or a link under it, leads out of the folder.
    """
    try:
        path = contained(folder, name)
    except OutsideRoot as error:
        path = folder / name
        if not in_hub_blobs(folder, name):
            raise ConfigError(f"{folder}: {error}; {_ADVICE}") from None
    return path if os.path.isfile(path) else None


def model_subfolder(folder: Path, name: str) -> Path:
    """A folder in a model's folder. Raises ConfigError if it is not there, or leads out of it."""
    try:
        path = contained(folder, name)
    except OutsideRoot as error:
        raise ConfigError(f"{folder}: {error}; {_ADVICE}") from None
    if not os.path.isdir(path):
        raise ConfigError(f"{path}: not there; {_ADVICE}")
    return path


def read_json_file(path: Path, most_bytes: int = _MOST_CONFIG_BYTES) -> dict[str, Any]:
    """The fields of a JSON file.

    Raises:
        ConfigError: not readable, too large, not JSON, too deep, or no mapping.
    """
    try:
        size = path.stat().st_size
        if size > most_bytes:
            raise ConfigError(f"{path}: {size:,} bytes, where {most_bytes:,} are the most; {_ADVICE}")
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); {_ADVICE}") from error
    fields = parse_json(data, str(path))
    if not isinstance(fields, dict):
        raise ConfigError(f"{path}: holds a {type(fields).__name__}, not fields; {_ADVICE}")
    return fields


def require_data_only(folder: Path) -> None:
    """Looks at all that libraries read of a model beside its weights, before they do.

    Raises:
        ConfigError: a file or link that leads out of the folder; JSON that is damaged, endless or names what no model
            has (see `require_sane`); weights that are not safetensors; an adapter that libraries would put on unasked.
    """
    for path in sorted(path for pattern in _READ for path in folder.glob(pattern)):
        if model_file(folder, path.name) is None:
            continue
        if path.name.endswith(".safetensors.index.json"):
            shards(folder, path.name)
        elif path.name in _TOKENIZER_FILES:
            fields = read_json_file(path, _MOST_JSON_BYTES)
            if path.name == "tokenizer.json":
                require_bounded_steps(fields, str(path))
        elif path.suffix == ".json" and path.name in _CONFIGS:
            require_sane(read_json_file(path), str(path))
    if (folder / ADAPTER_FILES[0]).exists() and (folder / CONFIG).exists():
        raise ConfigError(
            f"{folder / ADAPTER_FILES[0]}: an adapter beside a whole model, which would be put on it unasked; give the"
            " model without it"
        )


def shards(folder: Path, index: str = INDEX) -> dict[str, str]:
    """Name of a tensor -> name of its file, as an index says.

    Raises:
        ConfigError: no such map, or a file that is no safetensors or lies outside of the folder.
    """
    path = folder / index
    weight_map = read_json_file(path, _MOST_JSON_BYTES).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ConfigError(f"{path}: no `weight_map` of tensors and files; {_ADVICE}")
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or not shard.endswith(".safetensors"):
            raise ConfigError(f"{path}: {name!r} is in {shard!r}, and only safetensors are read; {_ADVICE}")
    for shard in sorted(set(weight_map.values())):
        try:
            model_file(folder, shard)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error
    return weight_map
