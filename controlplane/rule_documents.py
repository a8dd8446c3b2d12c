"""Rule sets as documents of any size: written some rules at a time, read in a thread.

YAML is written with a rule a line, as flow mappings of JSON scalars: quick to write and read, and good to compare.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

import orjson

from ledger.bulk_work import bulk_work
from ledger.documents import BULK_BYTES, decode_json, decode_yaml
from ledger.errors import RuleSetInvalid
from ledger.rule_book import RuleBook, price_documents
from ledger.rule_parsing import dump_rule
from ledger.rules import WINDOW_ORDER, Rule

RULES_A_CHUNK: Final = 200
HEAD: Final = "# Rules of a Spendgate workspace, revision {revision}. `spendgate rules apply` puts them in force.\n"

PLAIN: Final = re.compile(r"[a-z]+_[a-z_]+|warn|block|active|disabled|day|week|month|monday|sunday|deny|allow")
"""Words that YAML reads as nothing but text; everything else is quoted."""

Document = Mapping[str, object]


def sorted_rules(rules: Iterable[Rule]) -> list[Rule]:
    """Return rules in an order that does not change from export to export."""
    return sorted(rules, key=lambda rule: (rule.kind, rule.key, WINDOW_ORDER[rule.window]))


def rule_documents(book: RuleBook, rules: Sequence[Rule], *, with_ids: bool) -> Iterator[Document]:
    """Yield the documents of a book's rules, what follows from elsewhere left out."""
    for rule in rules:
        document = dump_rule(rule, book.workspace.calendar)
        if not with_ids:
            del document["id"]
        yield document


def json_chunks(book: RuleBook, documents: Iterator[Document]) -> Iterator[bytes]:
    """Yield the JSON text of a rule set, some rules at a time."""
    yield orjson.dumps(_head(book))[:-1] + b',"rules":['
    separator = b""
    while few := list(islice(documents, RULES_A_CHUNK)):
        yield separator + orjson.dumps(few)[1:-1]
        separator = b","
    yield b"]}"


def yaml_chunks(book: RuleBook, documents: Iterator[Document]) -> Iterator[bytes]:
    """Yield the YAML text of a rule set, some rules at a time."""
    head = _head(book)
    prices = head.pop("prices", None)
    yield HEAD.format(revision=book.revision).encode()
    yield f"workspace: {_flow(head['workspace'])}\n".encode()
    yield b"rules: []\n" if not book.entries else b"rules:\n"
    while few := list(islice(documents, RULES_A_CHUNK)):
        yield "".join(f"  - {_flow(document)}\n" for document in few).encode()
    if isinstance(prices, Mapping):
        yield b"prices:\n" + b"".join(_block(f"  {name}", value) for name, value in prices.items())
    elif prices is not None:
        yield _block("prices", prices)


async def read_document(body: bytes, *, is_yaml: bool) -> object:
    """Return the plain values of a document. Raises `RuleSetInvalid`, also for a key given twice."""
    try:
        if len(body) < BULK_BYTES:
            return decode_yaml(body) if is_yaml else decode_json(body)
        return await asyncio.to_thread(_decode_bulk, body, is_yaml)
    except (ValueError, RecursionError) as error:
        raise RuleSetInvalid([("document", str(error) or type(error).__name__)]) from None


def _decode_bulk(body: bytes, is_yaml: bool) -> object:
    with bulk_work():
        return decode_yaml(body) if is_yaml else decode_json(body)


def _head(book: RuleBook) -> dict[str, object]:
    head: dict[str, object] = {"workspace": book.settings_document()}
    if book.prices.count:
        head["prices"] = price_documents(book.prices)
    return head


def _block(name: str, value: object) -> bytes:
    """Return a field, a list with one entry a line."""
    if not isinstance(value, list) or not value:
        return f"{name}: {_flow(value)}\n".encode()
    indent = " " * (len(name) - len(name.lstrip()) + 2)
    return "".join([f"{name}:\n", *(f"{indent}- {_flow(entry)}\n" for entry in value)]).encode()


def _flow(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_flow(entry)}" for name, entry in value.items()) + "}"
    if isinstance(value, str) and PLAIN.fullmatch(value):
        return value
    return orjson.dumps(value).decode()
