"""``liteframe rehearse``."""

from __future__ import annotations

from liteframe.command.configs import checked_config
from liteframe.errors import ConfigError


def rehearse_command(
    config: list[str] | None = None,
    set: list[str] | None = None,
    out: str | None = None,
    processes: int | None = None,
    only: list[str] | None = None,
    allow_code: bool = False,
) -> int:
    """Run the configs of a full-size run on this machine, with every size cut down and nothing else changed.

    Cache, CTD, LMA and evaluation run one after the other, on small random models in the layout of the published ones
    and rendered videos, in as many processes as the configs have devices; a stage whose config is given is stopped
    half-way and goes on. Then export and chat. Everything is checked at its real size first, without memory.

    Args:
        config: config files of the run, as `liteframe fit` takes them; those of several stages one after the other.
            Stages of which none is given run as they ship, on the same machine.
        set: KEY=VALUE words that come last, such as data.batch_size=4; --KEY=VALUE does the same.
        out: folder for all that it makes, which must not exist; runs/rehearsal, or the next free name, by default.
        processes: of each stage, in place of the devices that its config names.
        only: rehearse these of cache, ctd, lma and evaluate only; what they read must be among them.
        allow_code: let configs out of run folders name any class or function; it runs as you then.

    Raises:
        LiteFrameError: a config that would fail on the node, or cannot be rehearsed.
    """
    if not config:
        raise ConfigError(
            "nothing to rehearse: give --config FILE, such as --config ctd.yaml --config trainer/gpu8.yaml"
        )
    if processes is not None and processes < 1:
        raise ConfigError(f"--processes is {processes}; give 1 or more")
    config = [checked_config(name) for name in config]
    from liteframe.rehearsal.rehearse import rehearse

    return rehearse(config, set or (), out, processes, only, allow_code)
