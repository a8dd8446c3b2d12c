"""The command line: finds the command, runs it, and turns failures into messages and exit codes.

0 is success, 1 a failure or a finding, 2 wrong usage, 130 Ctrl-C.
"""

import argparse
import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from typing import Final

from cli.failure import CommandFailed, WrongUsage

EXIT_FAILURE: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
COMMANDS: Final = {
    "up": "up",
    "sidecar": "sidecar",
    "controlplane": "controlplane",
    "healthcheck": "healthcheck",
    "rules": "rules",
    "prices": "prices",
    "usage": "usage",
    "explain": "explain",
    "adjust": "adjust",
    "audit": "audit",
    "journal": "journal",
    "doctor": "doctor",
    "repartition": "repartition",
    "user": "user",
    "replay": "replay_command",
    "trace": "trace_command",
    "demo": "demo",
}
"""Of each command the module in this room that adds it."""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command that `words` (default: those of this process) name and return its exit code."""
    said = sys.argv[1:] if words is None else words
    arguments = build_parser(said[0] if said else "").parse_args(said)
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


@contextmanager
def _without_collections() -> Iterator[None]:
    """Look for no garbage while modules load: what they are made of stays, and to search it takes 50 ms of a start."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def build_parser(named: str = "") -> argparse.ArgumentParser:
    """Return the parser of the command that is named; of all commands if it is none of them.

    So a process loads what its command needs: a sidecar neither the control plane nor the demo.
    """
    parser = argparse.ArgumentParser(
        prog="spendgate", allow_abbrev=False, description="Stops LLM overspend before it happens."
    )
    parser.add_argument("--version", action="version", version=f"spendgate {version('spendgate-server')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    with _without_collections():
        for module in [COMMANDS[named]] if named in COMMANDS else COMMANDS.values():
            import_module(f"cli.{module}").add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
