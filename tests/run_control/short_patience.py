"""The command with a short patience, so that tests of what happens at its end do not wait for half a minute."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from liteframe.command.cli import main
from liteframe.run_control import graceful_stop, ranks, stop_signals


def lose_patience() -> None:
    """After a signal a sixth of the usual waits; half of them for other ranks, at twice their beat."""
    stop_signals.SAVE_AFTER_S, stop_signals.END_AFTER_S = 2.0, 4.0
    ranks._BEAT_S, graceful_stop._LOOK_S = 0.5, 0.25
    graceful_stop._CHILD_GRACE_S, graceful_stop._TOLD_S = 4.0, 1.5


if __name__ == "__main__":
    lose_patience()
    sys.exit(main())
