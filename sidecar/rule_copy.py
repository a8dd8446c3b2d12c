"""The last good rule set on disk: ``<data_dir>/rules.json``, so that a sidecar starts without anyone's help."""

import logging
import os
from itertools import islice
from pathlib import Path
from typing import Final

import orjson

from ledger.bulk_work import BULK_RULES, bulk_work
from ledger.errors import RuleSetInvalid
from ledger.rule_changes import NOWHERE, RulePosition
from ledger.rule_parsing import dump_rules, dump_settings
from ledger.rules import RuleSet
from sidecar.rule_loading import UNSTATED_REVISION, DocumentFormat, read_rule_set
from sidecar.whole_files import put_in_place

COPY_NAME: Final = "rules.json"
NUMBER_NAME: Final = "rules.revision"
RULES_A_WRITE: Final = 2_000
_STORE: Final = b'{"store":'
"""Begins the first line of rules that were followed from the store: what they stand at there. No document has it."""

_log = logging.getLogger(__name__)


def write_copy(data_dir: Path, rule_set: RuleSet, position: RulePosition = NOWHERE) -> None:
    """Replace the copy, blocking: after a crash at any moment there is the old one or the new one. Raises `OSError`.

    `position` is where rules from the store stand in it.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    if rule_set.count < BULK_RULES:
        _replace(data_dir, rule_set, position)
        return
    with bulk_work():
        _replace(data_dir, rule_set, position)


def read_copy(data_dir: Path) -> tuple[RuleSet, RulePosition] | None:
    """Return the kept rule set and where it stands in the store, blocking.

    None if there is none, or none that can be used, which is logged.
    """
    path = data_dir / COPY_NAME
    try:
        position, body = _take_position(path.read_bytes())
        rule_set = read_rule_set(body, DocumentFormat.JSON)
    except FileNotFoundError:
        return None
    except (OSError, RuleSetInvalid) as error:
        _log.error("The kept rule set %s cannot be used and is ignored: %s", path, error)
        return None
    if rule_set.revision == UNSTATED_REVISION:
        _log.error("The kept rule set %s states no revision and is ignored", path)
        return None
    return rule_set, RulePosition(position.epoch, rule_set.revision, position.tip) if position.epoch else NOWHERE


def note_numbered(data_dir: Path, revision: int) -> None:
    """Note, blocking, that rules without a revision of their own are about to come into force under this one.

    Raises `OSError`.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    temporary = data_dir / f"{NUMBER_NAME}.new"
    with temporary.open("w", encoding="ascii") as file:
        file.write(f"{revision}\n")
        put_in_place(file, temporary, data_dir / NUMBER_NAME)


def read_last_numbered(data_dir: Path) -> int:
    """Return the revision noted last, blocking; 0 if there is none, or none that can be used, which is logged."""
    path = data_dir / NUMBER_NAME
    try:
        return int(path.read_bytes())
    except FileNotFoundError:
        return UNSTATED_REVISION
    except (OSError, ValueError) as error:
        _log.error("The note of the last revision %s cannot be used and is ignored: %s", path, error)
        return UNSTATED_REVISION


def _take_position(text: bytes) -> tuple[RulePosition, bytes]:
    """Return position and document of a copy; only one that came from the store begins with a line for the first."""
    if not text.startswith(_STORE):
        return NOWHERE, text
    line, _, rest = text.partition(b",\n")
    try:
        fields = orjson.loads(line.removeprefix(_STORE))
        return RulePosition(str(fields["epoch"]), 0, str(fields["tip"])), b"{" + rest
    except (ValueError, KeyError, TypeError):
        raise RuleSetInvalid([("store", "cannot be read")]) from None


def _replace(data_dir: Path, rule_set: RuleSet, position: RulePosition) -> None:
    temporary = data_dir / f"{COPY_NAME}.new"
    # User ids are nobody else's business on this machine.
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123
        start = b"{"
        if position != NOWHERE:
            start = _STORE + orjson.dumps({"epoch": position.epoch, "tip": position.tip}) + b",\n"
        file.write(start + orjson.dumps(dump_settings(rule_set))[1:-1] + b',"rules":[\n')
        documents = dump_rules(rule_set)
        separator = b""
        # Few large writes: each one lets go of the interpreter, and many short ones starve the event loop's thread.
        while lines := [orjson.dumps(document) for document in islice(documents, RULES_A_WRITE)]:
            file.write(separator + b",\n".join(lines))
            separator = b",\n"
        file.write(b"\n]}\n")
        put_in_place(file, temporary, data_dir / COPY_NAME)
