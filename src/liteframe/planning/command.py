"""``liteframe plan``."""

from __future__ import annotations

from liteframe.command.configs import checked_config
from liteframe.errors import ConfigError
from liteframe.system.atomic import atomic_write_json
from liteframe.system.own_record import require_own_record

ACHIEVED_TFLOPS = 150.0
"""Of a GPU, on average over a run: about half of what an A100 can do in bfloat16."""
_FIELDS = ("stage", "memory", "parameters")


def plan_command(
    config: list[str] | None = None,
    set: list[str] | None = None,
    videos: int | None = None,
    tflops: float = ACHIEVED_TFLOPS,
    rate: float | None = None,
    gpu_gib: float = 80.0,
    text_tokens: int = 256,
    output: str | None = None,
) -> int:
    """Say what a stage will take, without weights or network: parameters, tokens, operations, memory, store and time.

    Args:
        config: config files of the run, as `liteframe fit` takes them; later ones go before earlier ones.
        set: KEY=VALUE words that come last, such as model.host=internvl3-78b or data.batch_size=4.
        videos: in a pass over the data; counted where the manifest is here, else a million.
        tflops: what a GPU achieves on average, in 1e12 operations a second; 150 is about half of an A100's bfloat16.
        rate: videos a second that all GPUs together were measured at, in place of --tflops.
        gpu_gib: memory of a GPU in GiB, to say whether the plan fits.
        text_tokens: of question, answer and template of a video, for stages that run the LLM.
        output: JSON file to write the plan to.

    Raises:
        LiteFrameError: a config that is not found, a stage that cannot be planned, or sizes that do not fit.
    """
    if not config:
        raise ConfigError("nothing to plan: give --config FILE, such as --config ctd.yaml --config trainer/gpu8.yaml")
    for name, value in (("videos", videos), ("tflops", tflops), ("rate", rate), ("gpu_gib", gpu_gib)):
        if value is not None and value <= 0:
            raise ConfigError(f"--{name} is {value}; give a number above 0")
    if output is not None:
        require_own_record(output, _FIELDS, "--output")
    config = [checked_config(name) for name in config]
    from liteframe.planning.build import build
    from liteframe.planning.plan import make_plan
    from liteframe.planning.report import as_json, as_text
    from liteframe.planning.stage_plans import plan_stage

    stage, data, machine = build(config, set or ())
    plan = make_plan(plan_stage(stage, data, text_tokens), data, machine, videos, tflops, rate)
    print(as_text(plan, gpu_gib))
    if output is not None:
        atomic_write_json(output, as_json(plan))
    return 0
