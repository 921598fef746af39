"""A Video LLM from a folder, whatever kind of folder it is."""

from __future__ import annotations

from pathlib import Path

from liteframe.errors import ConfigError
from liteframe.models.adapted import is_adapted, load_adapted
from liteframe.models.video_llm import VideoLLM, load_host


def load_video_llm(source: str | Path, attention: str | dict[str, str] | None = None) -> VideoLLM:
    """The Video LLM in a folder, in eval mode.

    Args:
        source: export folder of an LMA run, or a folder (or hub id) of an InternVL with its own vision encoder.
        attention: kernel of the LLM, "eager" or "sdpa"; None is transformers' choice.

    Raises:
        ConfigError: nothing there that is a Video LLM.
    """
    folder = Path(source)
    if is_adapted(folder):
        return load_adapted(folder, attention)
    if is_adapted(folder / "export"):
        raise ConfigError(f"{folder} is a run folder; give the model in it, {folder / 'export'}")
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ConfigError(f"{folder}: no model here; give the export folder of an LMA run, or an InternVL's folder")
    host, processor = load_host(str(source), attention)
    return VideoLLM(host, processor).eval()
