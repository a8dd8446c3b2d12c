"""The last good rule set on disk: ``<data_dir>/rules.json``, so that a sidecar starts without anyone's help."""

import logging
import os
from itertools import islice
from pathlib import Path
from typing import Final

import orjson

from ledger.bulk_work import BULK_RULES, bulk_work
from ledger.errors import RuleSetInvalid
from ledger.rule_parsing import dump_rules, dump_settings
from ledger.rules import RuleSet
from sidecar.rule_loading import UNSTATED_REVISION, DocumentFormat, read_rule_set

COPY_NAME: Final = "rules.json"
RULES_A_WRITE: Final = 2_000

_log = logging.getLogger(__name__)


def write_copy(data_dir: Path, rule_set: RuleSet) -> None:
    """Replace the copy, blocking: after a crash at any moment there is the old one or the new one. Raises `OSError`."""
    data_dir.mkdir(parents=True, exist_ok=True)
    if rule_set.count < BULK_RULES:
        _replace(data_dir, rule_set)
        return
    with bulk_work():
        _replace(data_dir, rule_set)


def read_copy(data_dir: Path) -> RuleSet | None:
    """Return the kept rule set, blocking; None if there is none, or none that can be used, which is logged."""
    path = data_dir / COPY_NAME
    try:
        rule_set = read_rule_set(path.read_bytes(), DocumentFormat.JSON)
    except FileNotFoundError:
        return None
    except (OSError, RuleSetInvalid) as error:
        _log.error("The kept rule set %s cannot be used and is ignored: %s", path, error)
        return None
    if rule_set.revision == UNSTATED_REVISION:
        _log.error("The kept rule set %s states no revision and is ignored", path)
        return None
    return rule_set


def _replace(data_dir: Path, rule_set: RuleSet) -> None:
    temporary = data_dir / f"{COPY_NAME}.new"
    # User ids are nobody else's business on this machine.
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123
        file.write(orjson.dumps(dump_settings(rule_set)).removesuffix(b"}") + b',"rules":[\n')
        documents = dump_rules(rule_set)
        separator = b""
        # Few large writes: each one lets go of the interpreter, and many short ones starve the event loop's thread.
        while lines := [orjson.dumps(document) for document in islice(documents, RULES_A_WRITE)]:
            file.write(separator + b",\n".join(lines))
            separator = b",\n"
        file.write(b"\n]}\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(data_dir / COPY_NAME)
    _sync_directory(data_dir)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
