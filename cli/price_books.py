"""Price books of the command line: compiled from a source and overrides, read from a file or the control plane."""

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import orjson

from cli.control_client import call_control
from cli.failure import CommandFailed
from cli.price_source import Fields, SourceReport
from cli.rule_files import read_rule_bytes
from ledger.documents import decode_json, decode_yaml
from ledger.errors import RuleSetInvalid
from ledger.price_parsing import digest, dump_prices, parse_price_book
from ledger.prices import PriceBook
from ledger.sections import Faults, section_at
from ledger.windows import rfc3339

OVERRIDE_FIELDS: Final = frozenset({"providers", "overrides"})
ENTRY_END: Final = b"\n"
MS_A_SECOND: Final = 1000

Source = Callable[[date], tuple[Fields, SourceReport]]


def compiled_book(
    source: Source, source_version: str, overrides: object, today: date
) -> tuple[PriceBook, SourceReport]:
    """Return the book of a source's prices under an operator's overrides. Raises `RuleSetInvalid` for faulty ones."""
    own = _read_overrides(overrides)
    document, report = source(today)
    version = f"{source_version} {today.isoformat()}"
    begun = datetime(today.year, today.month, today.day, tzinfo=UTC)
    book = parse_price_book(
        {
            "version": version,
            "source": source_version,
            "built_at": rfc3339(int(begun.timestamp()) * MS_A_SECOND),
            "models": document["models"],
            "providers": _merged(document["providers"], own.get("providers") or []),
            "overrides": own.get("overrides") or [],
        }
    )
    return _versioned(book, own), report


def read_book(file: Path) -> PriceBook:
    """Return the book of a file, YAML or (named .json) JSON. Raises `CommandFailed`, `RuleSetInvalid`."""
    return parse_price_book(read_price_document(file))


def read_price_document(file: Path) -> object:
    """Return the plain values of a file. Raises `CommandFailed`, and `RuleSetInvalid` for neither YAML nor JSON."""
    body = read_rule_bytes(file)
    try:
        return decode_json(body) if file.suffix == ".json" else decode_yaml(body)
    except (ValueError, RecursionError) as error:
        raise RuleSetInvalid([("document", str(error))]) from None


def fetch_book(control_url: str) -> PriceBook:
    """Return the book that the control plane has. Raises `CommandFailed`."""
    answer = call_control(control_url, "GET", "/api/v1/prices")
    if answer.is_error:
        raise CommandFailed(answer.detail)
    try:
        return parse_price_book(orjson.loads(answer.body))
    except (orjson.JSONDecodeError, RuleSetInvalid) as error:
        raise CommandFailed(f"the answer is no price book: {error}") from error


def encoded_book(book: PriceBook) -> bytes:
    """Return a book as JSON with one price a line, so that two of them can be compared."""
    document = dump_prices(book)
    if not isinstance(document, Mapping):
        return orjson.dumps(document) + ENTRY_END
    fields = [orjson.dumps(name) + b": " + _field(value) for name, value in document.items()]
    return b"{\n" + b",\n".join(fields) + b"\n}" + ENTRY_END


def print_faults(file: Path, invalid: RuleSetInvalid) -> None:
    """Print every fault of a file on standard error."""
    for path, message in invalid.faults:
        print(f"{file}: {path}: {message}", file=sys.stderr)


def add_book_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--book``."""
    parser.add_argument(
        "--book", type=Path, metavar="FILE", help="a price book or a list of prices; else the control plane's is asked"
    )


def _field(value: object) -> bytes:
    if not isinstance(value, list) or not value:
        return orjson.dumps(value)
    return b"[\n" + b",\n".join(orjson.dumps(entry) for entry in value) + b"\n]"


def _read_overrides(value: object) -> Fields:
    """Return an operator's file: a list of prices, or a mapping with `overrides` and `providers`."""
    if value is None or isinstance(value, list):
        value = {"overrides": value or []}
    faults = Faults()
    section_at(value, path="", faults=faults, known=OVERRIDE_FIELDS)
    faults.raise_if_any()
    fields: Fields = dict(value) if isinstance(value, dict) else {}
    try:
        parse_price_book({"version": "overrides", **fields})
    except RuleSetInvalid as invalid:
        raise RuleSetInvalid([(path.removeprefix("prices."), message) for path, message in invalid.faults]) from None
    return fields


def _merged(known: list[Fields], own: list[Fields]) -> list[Fields]:
    """Return providers with an operator's names for them; one that is not known is added."""
    merged: dict[str, Fields] = {provider["id"].lower(): dict(provider) for provider in known}
    for provider in own:
        before = merged.setdefault(provider["id"].lower(), {"id": provider["id"]})
        for name in ("names", "models", "serves"):
            if provider.get(name):
                before[name] = [*provider[name], *before.get(name, [])]
    return list(merged.values())


def _versioned(book: PriceBook, own: Mapping[str, Any]) -> PriceBook:
    """Return a book whose version tells which overrides are in it."""
    if not any(own.values()):
        return book
    names = orjson.dumps(own.get("providers") or [], option=orjson.OPT_SORT_KEYS).decode()
    version = f"{book.version} + overrides {digest(book.overrides, names)}"
    return replace(book, version=version)
