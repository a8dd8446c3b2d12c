"""Plain values from the bytes of JSON and YAML documents, strictly: a key given twice is refused, not overwritten.

Blocking, for threads. A decoder in C keeps the interpreter from an event loop in another thread; JSON calls back into
Python for each object, and large YAML is read by a process of its own.
"""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Final

BULK_BYTES: Final = 256 * 1024
YAML_TIMEOUT_S: Final = 300


def unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return a mapping; being Python, the call also lets other threads run between two objects of a decoder in C."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"gives the key {str(twice)[:40]!r} twice in one mapping")
    return fields


def decode_json(body: bytes) -> object:
    """Return the value of a JSON text. Raises `ValueError` saying what is wrong."""
    try:
        return json.loads(body, object_pairs_hook=unique)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"is no JSON: {error}") from None


def decode_yaml(body: bytes) -> object:
    """Return the value of a YAML text. Raises `ValueError` saying what is wrong."""
    if len(body) < BULK_BYTES:
        # Loaded where it is wanted: rules in JSON, in the store and in a copy do without.
        document: object = import_module("ledger.yaml_documents").load_yaml(body)
        return document
    # Isolated: the directory of a program is not searched, or its neighbours would hide installed modules.
    command = [sys.executable, "-I", str(Path(__file__).with_name("yaml_documents.py"))]
    try:
        done = subprocess.run(command, input=body, capture_output=True, timeout=YAML_TIMEOUT_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise ValueError(f"takes longer than {YAML_TIMEOUT_S} s to read as YAML; use JSON") from None
    if done.returncode != 0:
        raise ValueError(done.stderr.decode(errors="replace") or f"cannot be read as YAML (exit {done.returncode})")
    return decode_json(done.stdout)
