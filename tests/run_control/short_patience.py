"""The command with a short patience, so that tests of what happens at its end do not wait for half a minute."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from liteframe.command.cli import main
from liteframe.run_control import stop_signals

stop_signals.SAVE_AFTER_S, stop_signals.END_AFTER_S = 2.0, 4.0
sys.exit(main())
