"""Rule sets from bytes, beside a running event loop: however many rules, no stall over 20 milliseconds.

What stalls a loop while a thread works: the thread keeping the interpreter for its switch interval (5 ms) each time
the loop wants it, C functions that never let go of it (decoders, freeing many objects at once), and garbage
collections over a million fresh objects. Each has its answer here.
"""

import asyncio
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, Final

import msgpack

from ledger.documents import BULK_BYTES, decode_json, decode_yaml, unique
from ledger.errors import RuleSetInvalid
from ledger.rule_parsing import parse_rule_set
from ledger.rules import RuleSet

UNSTATED_REVISION: Final = 0
BULK_RULES: Final = 2_000
SWITCH_INTERVAL_S: Final = 0.001
FREED_AT_ONCE: Final = 500

_bulk_turn: Final = threading.Lock()


class DocumentFormat(StrEnum):
    """How a rule set's document is written."""

    JSON = "json"
    YAML = "yaml"
    MSGPACK = "msgpack"


async def load_rule_set(body: bytes, document_format: DocumentFormat) -> RuleSet:
    """Return the rule set of a document; its revision is 0 if the document states none.

    Raises `RuleSetInvalid` with every fault.
    """
    return await asyncio.to_thread(read_rule_set, body, document_format)


def read_rule_set(body: bytes, document_format: DocumentFormat) -> RuleSet:
    """Return the rule set of a document, blocking; see `load_rule_set`."""
    if len(body) < BULK_BYTES:
        return parse_rule_set(decode_document(body, document_format), revision=UNSTATED_REVISION)
    with bulk_work():
        document = decode_document(body, document_format)
        try:
            return parse_rule_set(document, revision=UNSTATED_REVISION)
        finally:
            _free_document(document)


def decode_document(body: bytes, document_format: DocumentFormat) -> object:
    """Return the plain values of a document, blocking. Raises `RuleSetInvalid`, also for a key given twice."""
    try:
        return _DECODERS[document_format](body)
    except (ValueError, RecursionError) as error:
        raise RuleSetInvalid([("document", str(error))]) from None


@contextmanager
def bulk_work() -> Iterator[None]:
    """Let a thread handle very many objects without stalling the event loop of another; one thread at a time.

    Collections are off meanwhile: reference counts free nearly all. What is left then is frozen, because walking the
    rules of 100,000 users in each later full collection would stall too; garbage in cycles goes before.
    """
    with _bulk_turn:
        interval_s, collecting = sys.getswitchinterval(), gc.isenabled()
        gc.collect()
        gc.disable()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        try:
            yield
        finally:
            sys.setswitchinterval(interval_s)
            gc.freeze()
            if collecting:
                gc.enable()


def free_rule_set(owned: list[RuleSet]) -> None:
    """Free the rule sets of a list in small steps; the list must hold the last references to them."""
    if all(len(rule_set.rules) < BULK_RULES for rule_set in owned):
        owned.clear()
        return
    with bulk_work():
        while owned:
            rule_set = owned.pop()
            index = [*rule_set.overrides.values(), *rule_set.templates.values()]
            rules = list(rule_set.rules)
            del rule_set
            _free_list(index)
            _free_list(rules)


def _free_document(document: object) -> None:
    rules = document.get("rules") if isinstance(document, dict) else None
    if isinstance(rules, list):
        _free_list(rules)


def _free_list(items: list[Any]) -> None:
    while items:
        del items[-FREED_AT_ONCE:]


def _decode_msgpack(body: bytes) -> object:
    try:
        return msgpack.unpackb(body, object_pairs_hook=unique)
    except (msgpack.UnpackException, msgpack.ExtraData) as error:
        raise ValueError(f"is no MessagePack: {error or type(error).__name__}") from None


_DECODERS: Final[dict[DocumentFormat, Callable[[bytes], object]]] = {
    DocumentFormat.JSON: decode_json,
    DocumentFormat.YAML: decode_yaml,
    DocumentFormat.MSGPACK: _decode_msgpack,
}
