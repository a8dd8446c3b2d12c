"""Rule sets from bytes, beside a running event loop: however many rules, no stall over 20 milliseconds.

`ledger.bulk_work` tells what stalls a loop while a thread works.
"""

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import Final

import msgpack

from ledger.bulk_work import bulk_work, free_list
from ledger.documents import BULK_BYTES, decode_json, decode_yaml, unique
from ledger.errors import RuleSetInvalid
from ledger.price_parsing import parse_price_book
from ledger.prices import PriceBook
from ledger.rule_parsing import parse_rule_set
from ledger.rules import RuleSet

UNSTATED_REVISION: Final = 0


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


async def load_price_book(body: bytes, document_format: DocumentFormat) -> PriceBook:
    """Return the price book of a document. Raises `RuleSetInvalid` with every fault."""
    return await asyncio.to_thread(_read_price_book, body, document_format)


def _read_price_book(body: bytes, document_format: DocumentFormat) -> PriceBook:
    if len(body) < BULK_BYTES:
        return parse_price_book(decode_document(body, document_format))
    with bulk_work():
        return parse_price_book(decode_document(body, document_format))


def read_rule_set(body: bytes, document_format: DocumentFormat) -> RuleSet:
    """Return the rule set of a document, blocking; see `load_rule_set`."""
    if len(body) < BULK_BYTES:
        return parse_rule_set(decode_document(body, document_format), revision=UNSTATED_REVISION)
    with bulk_work():
        document = decode_document(body, document_format)
        try:
            return parse_rule_set(document, revision=UNSTATED_REVISION, consume=True)
        finally:
            _free_document(document)


def decode_document(body: bytes, document_format: DocumentFormat) -> object:
    """Return the plain values of a document, blocking. Raises `RuleSetInvalid`, also for a key given twice."""
    try:
        return _DECODERS[document_format](body)
    except (ValueError, RecursionError) as error:
        raise RuleSetInvalid([("document", str(error))]) from None


def _free_document(document: object) -> None:
    rules = document.get("rules") if isinstance(document, dict) else None
    if isinstance(rules, list):
        free_list(rules)


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
