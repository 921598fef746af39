"""Reads a base VLM, weights and processor, from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoProcessor, InternVLForConditionalGeneration, ProcessorMixin

from liteframe.errors import ConfigError
from liteframe.models.finite import require_finite_module
from liteframe.models.folders.foreign_errors import named_errors
from liteframe.models.folders.strict import require_fitting_size
from liteframe.models.teachers import read_config, weight_files
from liteframe.models.video_llm.base_vlm_configs import require_internvl
from liteframe.models.video_llm.chat_template import require_bounded, template_of
from liteframe.models.video_llm.hosts import Host, host_of


def load_base_vlm(source: str, attention: str | dict[str, str] | None = None) -> tuple[Any, ProcessorMixin]:
    """A base VLM, as a model of transformers, and its processor from a folder or hub id: of any family in `HOSTS`.

    Args:
        source: in transformers' format.
        attention: "eager", "sdpa", one for each of {"vision_config": ..., "text_config": ...}, or None.

    Raises:
        ConfigError: nothing there, another family, a shard that is missing or damaged, weights that do not fit the
            config, or a processor that does not fit the model.
    """
    config = read_config(source)
    host = host_of(config, source)
    host.require_readable(config, source)
    folder = Path(weight_files(source)[0]).parent
    advice = "copy or download them again"
    with named_errors(f"{source}: the weights cannot be read", advice):
        require_fitting_size(lambda: host.model_class(config), folder)
        loaded: Any = host.model_class.from_pretrained(
            str(folder),
            attn_implementation=attention,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
    model, info = loaded
    for kind in ("missing", "unexpected"):
        if names := sorted(info[f"{kind}_keys"]):
            raise ConfigError(f"{source}: {len(names)} {kind} weights, first {names[0]}; they are of another model")
    if odd := sorted(info["mismatched_keys"]):
        name, found, wanted = odd[0]
        raise ConfigError(
            f"{source}: {len(odd)} weights of another shape, first {name}: {tuple(found)} in the file,"
            f" {tuple(wanted)} by config.json; the two are of different sizes of the family"
        )
    require_finite_module(model, source)
    return model, _load_processor(source, folder, config, host)


def load_internvl(
    source: str, attention: str | dict[str, str] | None = None
) -> tuple[InternVLForConditionalGeneration, ProcessorMixin]:
    """As `load_base_vlm`, for what is done with InternVL alone. Raises ConfigError for another family."""
    require_internvl(read_config(source), source)
    return load_base_vlm(source, attention)


def _load_processor(source: str, folder: Path, config: Any, host: Host) -> ProcessorMixin:
    """The processor of a base VLM folder, which must agree with the model about the tokens that stand for the video."""
    advice = "copy tokenizer and processor from the published base VLM again"
    with named_errors(f"{source}: its processor cannot be read", advice):
        try:
            processor: Any = AutoProcessor.from_pretrained(str(folder), trust_remote_code=False)
        except AttributeError as error:
            raise ConfigError(f"{source}: the tokenizer lacks a token of the family ({error}); {advice}") from error
    image_token = getattr(processor, "image_token", None)
    if not isinstance(processor, ProcessorMixin) or image_token is None:
        raise ConfigError(f"{source}: {type(processor).__name__} is no processor of a base VLM; {advice}")
    require_bounded(template_of(processor, source), source)
    tokenizer = processor.tokenizer
    for name, (token, wanted) in host.ids_by_token(config, host.wording(processor, source)).items():
        known = tokenizer.get_vocab().get(token)
        if known != wanted:
            raise ConfigError(
                f"{source}: the tokenizer's id of the {name} token {token!r} is {known},"
                f" {name}_token_id of config.json is {wanted}; {advice}"
            )
    text: Any = config.text_config
    if len(tokenizer) > text.vocab_size:
        raise ConfigError(
            f"{source}: the tokenizer has {len(tokenizer)} tokens, the LLM embeddings for {text.vocab_size}; {advice}"
        )
    return processor
