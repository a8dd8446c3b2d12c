"""The seed: a rule file that an empty store takes its first rules from, once. Afterwards the store is what counts."""

import asyncio
import logging
from pathlib import Path
from typing import Final

from controlplane.registry import Registry
from controlplane.rule_errors import PreconditionFailed
from ledger.documents import decode_json, decode_yaml
from ledger.errors import RuleSetInvalid

SEED_ACTOR: Final = "seed"

log = logging.getLogger("spendgate.controlplane")


async def read_seed(rules: str | None, prices: str | None = None) -> object:
    """Return the document of a rule file and of a price book beside it, None without either.

    Raises `RuleSetInvalid` for what is neither YAML nor JSON and for prices in both, and `OSError`.
    """
    document = None if rules is None else await asyncio.to_thread(_read, Path(rules))
    if prices is None:
        return document
    book = await asyncio.to_thread(_read, Path(prices))
    if document is None:
        return {"rules": [], "prices": book}
    if not isinstance(document, dict):
        return document
    if document.get("prices") is not None:
        raise RuleSetInvalid([("prices", f"stand in {rules} and in {prices}; keep one of them")])
    return {**document, "prices": book}


async def plant(registry: Registry, document: object) -> None:
    """Import a document into a store that never had rules. Raises `RuleSetInvalid`, `StoreUnavailable`."""
    if document is None:
        return
    await registry.load()
    if registry.book.revision:
        log.info("the store has rules of its own (revision %d); the seed is left aside", registry.book.revision)
        return
    try:
        planted = await registry.import_document(document, expected_revision=0, actor=SEED_ACTOR, note="first rules")
    except PreconditionFailed:
        log.info("another control plane has put rules into the store; the seed is left aside")
    else:
        log.info("the store was empty and has %d rules of the seed now", planted.added)


def _read(path: Path) -> object:
    body = path.read_bytes()
    try:
        return decode_json(body) if path.suffix == ".json" else decode_yaml(body)
    except ValueError as error:
        raise RuleSetInvalid([("document", str(error))]) from None
