"""``liteframe pipeline``."""

from __future__ import annotations

from pathlib import Path

from liteframe.command.cli import FUNCTION_VERBS, STAGE_VERBS, dispatch
from liteframe.errors import ConfigError
from liteframe.pipeline.recipe import read_recipe
from liteframe.pipeline.runner import PipelineRunner


def pipeline_command(
    recipe: str, seed: int = 0, run: str | None = None, only: list[str] | None = None, allow_code: bool = False
) -> int:
    """Run a whole recipe, stage after stage; what is done already is skipped, what was broken off goes on.

    Args:
        recipe: name of a shipped recipe (``tiny``) or a YAML file.
        seed: makes another world, split and run.
        run: the run folder; runs/RECIPE by default, runs/RECIPE-seedN for seeds other than 0.
        only: run these stages only; what they need must be done.
        allow_code: let a recipe that does not ship with liteframe name any class or function; it runs as you then.

    Raises:
        LiteFrameError: what a stage raises.
    """
    content = read_recipe(recipe, allow_code)
    verbs = (*STAGE_VERBS, *FUNCTION_VERBS)
    if odd := [stage for stage in content.stages if stage.verb not in verbs]:
        raise ConfigError(f"{recipe}: stage {odd[0].name}: no verb {odd[0].verb!r}; there are {', '.join(verbs)}")
    folder = Path(run) if run else Path("runs") / (content.name if seed == 0 else f"{content.name}-seed{seed}")
    PipelineRunner(content, folder, seed, dispatch).execute(only)
    return 0
