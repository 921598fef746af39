"""``python -m liteframe``."""

import os
import sys


def forget_current_folder() -> None:
    """Drops the folder that ``python -m`` has put first on the path, unless the package itself lies there.

    It is often one of somebody else's videos, and an `av.py` or `json.py` in it would be imported for the real one.
    The ``liteframe`` script never looks there; who wants it to, says so with PYTHONPATH.
    """
    package = os.path.dirname(os.path.realpath(__file__))
    first = os.path.realpath(sys.path[0])
    if first == os.path.realpath(os.curdir) and first != os.path.dirname(package):
        del sys.path[0]


if __name__ == "__main__":
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        forget_current_folder()
    from liteframe.command.cli import main

    sys.exit(main())
