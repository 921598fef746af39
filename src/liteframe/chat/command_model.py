"""The Video LLM of a command that answers about videos."""

from __future__ import annotations

from typing import TYPE_CHECKING

from liteframe.data.decoding.processes import child as decoding
from liteframe.models.video_llm import chat_template
from liteframe.system.runtime import first_imports

if TYPE_CHECKING:
    from liteframe.chat.model import ChatModel


def load_for_command(
    model: str, device: str, dtype: str, engine: str, decodes: bool = True, decode_deadline_s: float | None = None
) -> ChatModel:
    """`liteframe.load`, with what will be needed next started beside it, and without the libraries' own messages.

    Args:
        model, device, dtype, engine: as `liteframe.load` takes them.
        decodes: whether video files are decoded, for which a process is started.
        decode_deadline_s: as `liteframe.load` takes it; None is its default.

    Raises:
        ConfigError: as `liteframe.load` does.
    """
    if decodes:
        decoding.start_ahead()
    chat_template.start_ahead()
    with first_imports():
        from liteframe.chat.loading import load
        from liteframe.data.decoding.read_video import DEADLINE_S
        from liteframe.hf.loading import loading_quietly
    deadline_s = DEADLINE_S if decode_deadline_s is None else decode_deadline_s
    with loading_quietly():
        return load(model, device, dtype, engine=engine, decode_deadline_s=deadline_s)
