"""The command line: finds the command, runs it, and turns failures into messages and exit codes.

0 is success, 1 a failure or a finding, 2 wrong usage, 130 Ctrl-C.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from cli import (
    adjust,
    audit,
    controlplane,
    demo,
    doctor,
    explain,
    healthcheck,
    journal,
    prices,
    repartition,
    replay_command,
    rules,
    trace_command,
    up,
    usage,
    user,
)
from cli.failure import CommandFailed, WrongUsage

EXIT_FAILURE: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
COMMANDS: Final = (
    *(up, controlplane, healthcheck, rules, prices, usage, explain, adjust, audit, journal),
    *(doctor, repartition, user),
    *(replay_command, trace_command, demo),
)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command that `words` (default: those of this process) name and return its exit code."""
    arguments = build_parser().parse_args(words)
    try:
        exit_code: int = arguments.run(arguments)
    except CommandFailed as failure:
        print(f"spendgate: {failure}", file=sys.stderr)
        return EXIT_USAGE if isinstance(failure, WrongUsage) else EXIT_FAILURE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE
    return exit_code


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="spendgate", allow_abbrev=False, description="Stops LLM overspend before it happens."
    )
    parser.add_argument("--version", action="version", version=f"spendgate {version('spendgate-server')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
