"""`python -m arwd` is the command `arwd`."""

import sys

from arwd.cli import main

if __name__ == "__main__":
    sys.exit(main())
