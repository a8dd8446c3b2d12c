"""`spendgate prices build | show | cost | apply`: price books compiled, looked into, and put in force."""

import argparse
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from cli.arguments import Subcommands
from cli.control_client import add_control_argument, call_control
from cli.failure import CommandFailed
from cli.price_books import (
    add_book_argument,
    compiled_book,
    encoded_book,
    fetch_book,
    print_faults,
    read_book,
    read_price_document,
)
from cli.price_source import PACKAGE, source_document, source_version
from cli.price_text import price_lines, report_lines, summary_lines
from ledger.errors import InvalidInput, RuleSetInvalid
from ledger.moments import parse_moment
from ledger.money import usd_text
from ledger.prices import PriceBook
from ledger.usage import COUNT_FIELDS, MAX_TOKENS, Usage

JSON: Final = "application/json"
NO_SOURCE: Final = f"{PACKAGE} is not installed; it comes with `pip install 'spendgate-server[prices]'`"
MS_A_SECOND: Final = 1000


def add_parser(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "prices", allow_abbrev=False, help="compile, look into and put in force what models cost"
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    _add_build(actions)
    show = actions.add_parser("show", allow_abbrev=False, help="tell what a model costs, or what a book has")
    show.add_argument("model", nargs="?", help="a model's name as callers send it")
    show.set_defaults(run=run_show)
    cost = actions.add_parser("cost", allow_abbrev=False, help="tell what a usage costs")
    cost.add_argument("model", help="a model's name as callers send it")
    for name in COUNT_FIELDS:
        cost.add_argument(_flag(name), type=_count, default=0, metavar="N", dest=name)
    cost.add_argument("--at", type=_moment_ms, metavar="TIME", help="when, as in 2026-12-01T00:00:00Z [now]")
    cost.set_defaults(run=run_cost)
    apply = actions.add_parser("apply", allow_abbrev=False, help="put a price book in force through the control plane")
    apply.add_argument("file", type=Path, help="a price book or a list of prices, YAML or (named .json) JSON")
    apply.add_argument("--note", default="", help="why, for the audit trail")
    apply.add_argument("--if-revision", type=int, metavar="N", help="only if the rules still stand at this revision")
    apply.set_defaults(run=run_apply)
    for action in (show, cost):
        action.add_argument("--provider", help="the provider's name as callers send it")
        add_book_argument(action)
    for action in (show, cost, apply):
        add_control_argument(action)


def _add_build(actions: "Subcommands[argparse.ArgumentParser]") -> None:
    build = actions.add_parser("build", allow_abbrev=False, help=f"compile the prices of {PACKAGE} and your own")
    build.add_argument(
        "--overrides", type=Path, metavar="FILE", help="prices of your own, which go before the source's"
    )
    build.add_argument("--output", type=Path, metavar="FILE", help="where to; standard output if left out")
    build.add_argument("--date", type=date.fromisoformat, metavar="DAY", help="the day it is built for [today]")
    build.set_defaults(run=run_build)


def run_build(arguments: argparse.Namespace) -> int:
    """Write a compiled book and say what was left out; 1 with every fault when the overrides are refused."""
    day = arguments.date or datetime.now(UTC).date()
    try:
        overrides = None if arguments.overrides is None else read_price_document(arguments.overrides)
        book, report = compiled_book(source_document, source_version(), overrides, day)
    except ModuleNotFoundError as error:
        raise CommandFailed(NO_SOURCE) from error
    except RuleSetInvalid as invalid:
        print_faults(arguments.overrides or Path(PACKAGE), invalid)
        return 1
    body = encoded_book(book)
    for line in [*summary_lines(book), f"{len(body)} bytes", *report_lines(report)]:
        print(line, file=sys.stderr)
    if arguments.output is None:
        sys.stdout.buffer.write(body)
        sys.stdout.buffer.flush()
        return 0
    try:
        arguments.output.write_bytes(body)
    except OSError as error:
        raise CommandFailed(f"{arguments.output} cannot be written: {error.strerror}") from error
    return 0


def run_show(arguments: argparse.Namespace) -> int:
    """Print what a model costs, else what the book has; 1 for a model without a price."""
    book = _book(arguments)
    if arguments.model is None:
        print("\n".join(summary_lines(book)))
        return 0
    found = book.find(arguments.provider, arguments.model)
    if found is None:
        return _tell_unpriced(book, arguments.model)
    print("\n".join([*price_lines(found.model), f"version: {book.version}"]))
    return 0


def run_cost(arguments: argparse.Namespace) -> int:
    """Print what a usage costs; 1 if it has no price."""
    book = _book(arguments)
    counts = {name: getattr(arguments, name) for name in COUNT_FIELDS}
    usage = Usage(model=arguments.model, provider=arguments.provider, **counts)
    at_ms = arguments.at if arguments.at is not None else int(datetime.now(UTC).timestamp() * MS_A_SECOND)
    priced = book.price(usage, at_ms)
    if priced is None:
        return _tell_unpriced(book, arguments.model)
    found = book.find(arguments.provider, arguments.model)
    name = arguments.model if found is None else found.model.name
    print(f"{usd_text(priced.nanos)} USD, {name}, version {priced.version}")
    return 0


def run_apply(arguments: argparse.Namespace) -> int:
    """Put the book in force and print what it is; 1 with every fault on standard error when it is refused."""
    try:
        book = read_book(arguments.file)
    except RuleSetInvalid as invalid:
        print_faults(arguments.file, invalid)
        return 1
    headers = {"Content-Type": JSON}
    if arguments.if_revision is not None:
        headers["If-Match"] = f'"{arguments.if_revision}"'
    query = {"change_note": arguments.note} if arguments.note else {}
    answer = call_control(
        arguments.control_url, "PUT", "/api/v1/prices", query=query, body=encoded_book(book), headers=headers
    )
    if answer.is_error:
        raise CommandFailed(answer.detail)
    done = answer.document
    print(f"revision {done['revision']}: {done['prices']} prices, version {done['version'] or 'none'}")
    return 0


def _book(arguments: argparse.Namespace) -> PriceBook:
    if arguments.book is None:
        return fetch_book(arguments.control_url)
    try:
        return read_book(arguments.book)
    except RuleSetInvalid as invalid:
        print_faults(arguments.book, invalid)
        raise CommandFailed(f"{arguments.book} is no price book") from None


def _tell_unpriced(book: PriceBook, model: str) -> int:
    print(f"{model} has no price in version {book.version or 'none'}: its calls are unpriced", file=sys.stderr)
    return 1


def _flag(name: str) -> str:
    return "--" + name.removesuffix("_tokens").replace("_", "-")


def _count(text: str) -> int:
    count = int(text)
    if not 0 <= count <= MAX_TOKENS:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to {MAX_TOKENS}")
    return count


def _moment_ms(text: str) -> int:
    try:
        return parse_moment(text, field="the time")
    except InvalidInput as error:
        raise argparse.ArgumentTypeError(error.message) from error
