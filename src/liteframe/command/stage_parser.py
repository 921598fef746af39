"""The parser of a stage's settings: a text means itself, and `+=` adds to a default too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from liteframe.command.auto_precision import AUTO
from liteframe.errors import ConfigError

_SEVERAL = (list, tuple, Sequence, Iterable)


class StageParser(LightningArgumentParser):
    """Lightning's parser without three surprises, and with "auto" among the precisions of the trainer.

    jsonargparse opens a file of that name wherever a setting can hold a class, so a list of videos would be replaced by
    what stands in it. Here a setting that takes a text keeps it: files are opened behind `--config`, and where nothing
    but a file can be meant. And `+=` would add to an empty list where a class has a default for it. A dataclass that a
    caller in Python may give as a dict would be replaced by whatever dict does not fit it; here it merges by field.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._groups: list[str] = []
        super().__init__(*args, **kwargs)

    def _add_signature_parameter(
        self, container: Any, nested_key: str | None, param: Any, added_args: list[str], *args: Any, **kwargs: Any
    ) -> None:
        if takes_text(param.annotation):
            kwargs["sub_configs"] = False
        param.annotation = _without_dict(param.annotation)
        if (nested_key, param.name) == ("trainer", "precision"):
            param.annotation = param.annotation | Literal[AUTO]
        if is_dataclass(param.annotation):
            self._groups.append(param.name)
        super()._add_signature_parameter(container, nested_key, param, added_args, *args, **kwargs)

    def parse_args(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        namespace: Namespace | None = None,
        env: bool | None = None,
        defaults: bool = True,
        **kwargs: Any,
    ) -> Namespace:
        if not defaults:
            namespace = self._with_defaults(_appended_words(args or ()), namespace)
        return self._with_whole_groups(super().parse_args(args, namespace, env, defaults, **kwargs))

    def parse_object(
        self,
        obj: Namespace | dict[str, Any],
        namespace: Namespace | None = None,
        env: bool | None = None,
        defaults: bool = True,
        **kwargs: Any,
    ) -> Namespace:
        if not defaults:
            namespace = self._with_defaults(_appended_keys(obj), namespace)
        return self._with_whole_groups(super().parse_object(obj, namespace, env, defaults, **kwargs))

    def _with_whole_groups(self, settings: Namespace) -> Namespace:
        """Raises ConfigError where a group of settings, of which jsonargparse takes anything, is none."""
        for name in self._groups:
            if name in settings and not isinstance(settings[name], (Namespace, Mapping)):
                raise ConfigError(f"{name} is {settings[name]!r}; give its fields, or leave it out")
        return settings

    def _with_defaults(self, names: Iterable[str], namespace: Namespace | None) -> Namespace | None:
        """The settings so far, with the default lists of those names that have not been set yet."""
        for name in names:
            try:
                default = self.get_default(name)
            except KeyError:
                continue  # of a class inside, whose own parser comes by here
            if isinstance(default, list) and (namespace is None or name not in namespace):
                namespace = Namespace() if namespace is None else namespace.clone()
                namespace[name] = list(default)
        return namespace


def _without_dict(kind: Any) -> Any:
    """The dataclass of a dataclass or dict."""
    parts = get_args(kind) if get_origin(kind) in (Union, UnionType) else ()
    classes = [part for part in parts if is_dataclass(part)]
    dicts = [part for part in parts if (get_origin(part) or part) is dict]
    return classes[0] if len(classes) == len(dicts) == 1 and len(parts) == 2 else kind


def takes_text(kind: Any) -> bool:
    """Whether a text, or a list with a text in it, is a value of that type as it stands."""
    if get_origin(kind) in (Union, UnionType, *_SEVERAL):
        return any(takes_text(part) for part in get_args(kind))
    return kind is str


def _appended_words(words: Iterable[str]) -> Iterator[str]:
    """Settings that the words of a command line add to."""
    for word in words:
        option = word.partition("=")[0]
        if option.startswith("--") and option.endswith("+"):
            yield option[2:-1]


def _appended_keys(settings: Namespace | Mapping[str, Any], within: str = "") -> Iterator[str]:
    """Settings that a part of a config adds to. Raises ConfigError where it sets them too: it has no order."""
    values = vars(settings) if isinstance(settings, Namespace) else settings
    for key, value in values.items():
        if key.endswith("+"):
            if key[:-1] in values:
                raise ConfigError(f"{within}{key[:-1]} and {within}{key} stand in one config; write one list")
            yield f"{within}{key[:-1]}"
        elif isinstance(value, (Namespace, Mapping)):
            yield from _appended_keys(value, f"{within}{key}.")
