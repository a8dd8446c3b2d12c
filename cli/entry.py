"""Where the console script begins: `cli.main`, but for the one command that runs too often to load everything.

Loading the servers takes half a second of CPU, and a health check comes every few seconds.
"""

import sys
from importlib import import_module

from cli import healthcheck


def main() -> int:
    """Run the command that this process' words name and return its exit code."""
    if sys.argv[1:2] == [healthcheck.NAME]:
        return healthcheck.main(sys.argv[2:])
    code: int = import_module("cli.main").main()
    return code


if __name__ == "__main__":
    sys.exit(main())
