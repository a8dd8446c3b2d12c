"""Argument types that several commands share, and flags that default to a variable of the environment."""

import argparse
import os
from typing import Final

from ledger.errors import InvalidInput
from ledger.money import parse_usd

DEFAULT_SIDECAR_URL: Final = "http://127.0.0.1:8787"

Subcommands = argparse._SubParsersAction  # noqa: SLF001 - argparse gives its type no public name


def at_least_one(text: str) -> int:
    """Return a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def positive_number(text: str) -> float:
    """Return a finite number above 0."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def port_number(text: str) -> int:
    """Return a TCP port."""
    number = int(text)
    if not 1 <= number < 2**16:
        raise argparse.ArgumentTypeError(f"{text} is not a port from 1 to 65535")
    return number


def usd_nanos(text: str) -> int:
    """Return the nano-USD of an amount in USD."""
    try:
        return parse_usd(text, field="the amount")
    except InvalidInput as error:
        raise argparse.ArgumentTypeError(error.message) from error


def add_url_argument(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Add ``--url``, the sidecar's address; default SPENDGATE_URL."""
    parser.add_argument(
        "--url",
        metavar="URL[,URL...]" if several else "URL",
        default=os.environ.get("SPENDGATE_URL", DEFAULT_SIDECAR_URL),
        help="the sidecars' addresses, used in turn"
        if several
        else f"the sidecar's address [SPENDGATE_URL, default {DEFAULT_SIDECAR_URL}]",
    )


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
