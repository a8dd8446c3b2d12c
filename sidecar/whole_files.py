"""Files that are replaced whole, and names that survive a power loss."""

import os
from pathlib import Path
from typing import IO, Any


def put_in_place(file: IO[Any], temporary: Path, path: Path) -> None:
    """Give a file that was written whole its name: after a crash at any moment there is the old one or the new one.

    Blocking; raises `OSError`.
    """
    file.flush()
    os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make names that were changed in a directory survive a power loss. Blocking; raises `OSError`."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
