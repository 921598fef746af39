"""What liteframe is called by whoever installs it, and which version is installed."""

from __future__ import annotations

DISTRIBUTION = "liteframe-video"
"""Its name on package indexes, where `liteframe` is another project; import and command are `liteframe`."""

_NOT_INSTALLED = "0+unknown"


def install_hint(extra: str) -> str:
    """The command that brings what an optional part of liteframe needs.

    Args:
        extra: a name of `project.optional-dependencies` in pyproject.toml.
    """
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def installed_version() -> str:
    """The version of the installed distribution, or ``0+unknown`` where the sources are only on the path.

    Of an editable install it is that of the time when it was installed.
    """
    from importlib.metadata import PackageNotFoundError, version  # here, because `import liteframe` is cheap

    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return _NOT_INSTALLED
