"""``python -m npconv``: the command line."""

import sys

from npconv.cli import main

if __name__ == "__main__":
    sys.exit(main())
