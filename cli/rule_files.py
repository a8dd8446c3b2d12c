"""Rule files of the command line."""

import sys
from pathlib import Path
from typing import Final

from cli.failure import CommandFailed

MAX_FILE_BYTES: Final = 256 * 1024 * 1024
STANDARD_INPUT: Final = Path("-")


def read_rule_bytes(file: Path) -> bytes:
    """Return what a rule file holds, ``-`` being standard input. Raises `CommandFailed` if it cannot be read."""
    if file == STANDARD_INPUT:
        return sys.stdin.buffer.read(MAX_FILE_BYTES)
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise CommandFailed(f"{file} is larger than {MAX_FILE_BYTES // 1024 // 1024} MiB")
        return file.read_bytes()
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read: {error.strerror}") from error
