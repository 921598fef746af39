"""``python -m liteframe``."""

import sys

from liteframe.cli import main

if __name__ == "__main__":
    sys.exit(main())
