"""A rule file that is followed: what it says comes into force when it changes, Kubernetes ConfigMaps included."""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from watchfiles import awatch

from ledger.bulk_work import BULK_RULES
from ledger.errors import RuleSetInvalid, StaleRevision
from sidecar.rule_cache import RuleCache
from sidecar.rule_loading import DocumentFormat, load_price_book, load_rule_set

POLL_INTERVAL_S: Final = 5.0
MAX_FILE_BYTES: Final = 256 * 1024 * 1024

_log = logging.getLogger(__name__)


class RuleFile:
    """Follows one YAML file (JSON if it is named ``*.json``) and swaps its rules into a cache.

    The prices may stand in a file of their own, `prices`, which is followed too. What cannot be used is logged with all
    its faults and counted by `on_reject`; the rule set in force stays.
    """

    def __init__(
        self,
        path: Path,
        cache: RuleCache,
        *,
        prices: Path | None = None,
        on_reject: Callable[[], None] = lambda: None,
        poll_interval_s: float = POLL_INTERVAL_S,
    ) -> None:
        self._path = path
        self._prices = prices
        self._cache = cache
        self._on_reject = on_reject
        self._poll_interval_s = poll_interval_s
        self._seen = b""

    async def load(self) -> None:
        """Put the file's rules in force at the start; very many are kept by `RuleCache.run`, once callers are served.

        Raises `RuleSetInvalid` if they cannot be used and the cache has no kept rule set to go on with.
        """
        refused = await self._take(at_start=True)
        if refused is not None and not self._cache.is_loaded:
            raise refused

    async def watch(self) -> None:
        """Follow the files until cancelled: their directories' events, and a look every few seconds for what they miss.

        A ConfigMap changes by swapping the symlink ``..data`` in the file's directory; the file itself never does.
        """
        directories = {file.parent for file in (self._path, self._prices) if file is not None}
        timeout_ms = int(self._poll_interval_s * 1000)
        while True:
            try:
                async for _ in awatch(
                    *directories, watch_filter=None, recursive=False, rust_timeout=timeout_ms, yield_on_timeout=True
                ):
                    await self._take()
            except (OSError, RuntimeError) as error:
                _log.warning("Cannot watch %s, looking again in %g s: %s", self._path, self._poll_interval_s, error)
            await asyncio.sleep(self._poll_interval_s)
            await self._take()

    async def _take(self, *, at_start: bool = False) -> RuleSetInvalid | None:
        """Put the files' rules and prices in force if they are new; return why they were refused, if they were."""
        body, digest = await asyncio.to_thread(_read, self._path)
        prices, prices_digest = await asyncio.to_thread(_read, self._prices)
        if digest + prices_digest == self._seen:
            return None
        self._seen = digest + prices_digest
        try:
            await self._swap(body, prices, at_start=at_start)
        except RuleSetInvalid as error:
            self._refuse(error)
            return error
        return None

    async def _swap(self, body: bytes | OSError, prices: bytes | OSError, *, at_start: bool) -> None:
        rule_set = await load_rule_set(_usable(body, "document"), _format_of(self._path))
        if self._prices is not None:
            if rule_set.prices.count:
                raise RuleSetInvalid([("prices", f"stand here and in {self._prices}; keep one of them")])
            book = await load_price_book(_usable(prices, "prices"), _format_of(self._prices))
            rule_set = replace(rule_set, prices=book)
        count = rule_set.count
        try:
            changed = await self._cache.swap(rule_set, keep_later=at_start and count >= BULK_RULES)
        except StaleRevision as error:
            raise RuleSetInvalid([("revision", error.message)]) from None
        in_force = self._cache.current.revision
        _log.info("Rule file %s: %d rules, revision %d%s", self._path, count, in_force, "" if changed else " as before")

    def _refuse(self, error: RuleSetInvalid) -> None:
        stays = f"revision {self._cache.current.revision} stays in force" if self._cache.is_loaded else "there are none"
        _log.error("Rule file %s refused, %s: %s", self._path, stays, error)
        self._on_reject()


def _usable(body: bytes | OSError, path: str) -> bytes:
    """Return what a file holds. Raises `RuleSetInvalid` if it cannot be read or is too large."""
    if isinstance(body, OSError):
        raise RuleSetInvalid([(path, f"cannot be read: {body}")])
    if len(body) > MAX_FILE_BYTES:
        raise RuleSetInvalid([(path, f"has more than {MAX_FILE_BYTES} bytes")])
    return body


def _format_of(path: Path) -> DocumentFormat:
    return DocumentFormat.JSON if path.suffix == ".json" else DocumentFormat.YAML


def _read(path: Path | None) -> tuple[bytes | OSError, bytes]:
    """Return the file's bytes, or why they cannot be read, and the digest that tells whether either is new."""
    if path is None:
        return b"", b""
    try:
        with path.open("rb") as file:
            body = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        return error, str(error).encode()
    return body, hashlib.sha256(body).digest()
