"""How each rival is built: what it works within, where it differs from its authors' code, and what that costs it."""

from __future__ import annotations

from collections.abc import Sequence

from liteframe.bench.arm_names import method_name
from liteframe.bench.page import markdown


def rivals_table(methods: Sequence[str]) -> str:
    """A line for each rival that has official code, of what the registries say.

    Args:
        methods: names in the registry of compressors; what reduces inside the LLM or the encoder follows.
    """
    from liteframe.models.llm_pruning import PRUNERS  # here, because these take torch, and pages do not
    from liteframe.models.tome_vit import ToMeTeacher
    from liteframe.ops.compressors.registry import METHODS

    built = {name: METHODS[name].official for name in methods}
    built |= {name: made.official for name, made in PRUNERS.items()}
    built["tome-teacher+wap"] = ToMeTeacher.official
    lines = [
        [method_name(name), official.scope, official.differs, official.costs]
        for name, official in built.items()
        if official is not None
    ]
    header = ["method", "works within", "differs from the official code", "what that costs it"]
    return markdown(header, lines).replace("---:", "---")
