"""Who may do what: scopes, tokens, sessions of browsers, and the limit on failed log-ins. No HTTP here.

::

    push    import and export rules and prices, nothing else
    events  send usage events, nothing else: apps carry this token
    read    look at everything
    write   look at everything and change it
"""

import hashlib
import hmac
import ipaddress
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ledger.errors import InvalidInput, LedgerError
from ledger.names import parse_name

MAX_SESSIONS: Final = 10_000
SESSION_BYTES: Final = 32
MAX_ADDRESSES: Final = 10_000
MAX_FAILURES: Final = 10
FAILURES_WITHIN_S: Final = 60.0
MAX_ACTOR_LENGTH: Final = 64
IPV6_SITE_BITS: Final = 64


class Unauthorized(LedgerError):
    """The token or session is missing or wrong."""

    code = "unauthorized"
    status = 401


class Forbidden(LedgerError):
    """The token or session is right, but its scope does not reach that far."""

    code = "forbidden"
    status = 403


class TooManyFailures(LedgerError):
    """This address has sent too many wrong tokens; it may try again after `retry_after_s` seconds."""

    code = "too_many_failures"
    status = 429

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many wrong tokens from this address; try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class Scope(StrEnum):
    """What a caller may do."""

    PUSH = "push"
    EVENTS = "events"
    READ = "read"
    WRITE = "write"


GRANTS: Final[Mapping[Scope, frozenset[Scope]]] = {
    Scope.PUSH: frozenset({Scope.PUSH}),
    Scope.EVENTS: frozenset({Scope.EVENTS}),
    Scope.READ: frozenset({Scope.READ}),
    Scope.WRITE: frozenset({Scope.READ, Scope.WRITE, Scope.PUSH, Scope.EVENTS}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls: the scope that was proved, and the actor for the audit trail."""

    scope: Scope
    actor: str

    def may(self, needed: frozenset[Scope]) -> bool:
        """Say whether this caller has one of the scopes that an operation accepts."""
        return bool(GRANTS[self.scope] & needed)


LOCAL_SCOPE: Final = Scope.WRITE


def actor_of(proof: str, name: str | None) -> str:
    """Return the actor of the audit trail: the name is the caller's word, what stands behind it was proved."""
    return proof if name is None else f"{name} ({proof})"


def parse_actor(value: object, *, field: str) -> str:
    """Return the name that callers give themselves; raises `InvalidInput` for more than 64 printable characters."""
    name = parse_name(value, field=field)
    if len(name) > MAX_ACTOR_LENGTH:
        raise InvalidInput(f"{field} has more than {MAX_ACTOR_LENGTH} characters", field=field)
    return name


class Tokens:
    """The tokens of the settings; compared in constant time, whichever of them is tried.

    `guard` says whether one is needed: without one to read or write, whoever reaches the listener may do everything.
    """

    def __init__(self, tokens: Mapping[Scope, str | None]) -> None:
        self.guard = tokens.get(Scope.READ) is not None or tokens.get(Scope.WRITE) is not None
        self._digests = {scope: _digest(text.encode()) for scope, text in tokens.items() if text is not None}

    def scope_of(self, token: bytes) -> Scope | None:
        """Return the scope of a token, None for a wrong one."""
        digest, found = _digest(token), None
        for scope, known in self._digests.items():
            if hmac.compare_digest(digest, known):
                found = scope
        return found


@dataclass(frozen=True, slots=True)
class _Session:
    caller: Caller
    expires_s: float


class Sessions:
    """The open sessions of browsers, in memory: a restart ends them all. `clock` is monotonic, in seconds.

    Only digests are kept, so that what a memory dump shows opens nothing.
    """

    def __init__(self, *, lifetime_s: float, clock: Callable[[], float]) -> None:
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, caller: Caller) -> str:
        """Return the secret of a new session; beyond 10,000 the oldest one ends."""
        self._drop_expired()
        while len(self._sessions) >= MAX_SESSIONS:
            self._sessions.popitem(last=False)
        secret = secrets.token_urlsafe(SESSION_BYTES)
        self._sessions[_digest(secret.encode())] = _Session(caller, self._clock() + self._lifetime_s)
        return secret

    def find(self, secret: str) -> Caller | None:
        """Return who opened a session, None if it is unknown or has ended."""
        session = self._sessions.get(_digest(secret.encode(errors="surrogateescape")))
        if session is None or session.expires_s <= self._clock():
            return None
        return session.caller

    def close(self, secret: str) -> None:
        """End a session; an unknown one is no error."""
        self._sessions.pop(_digest(secret.encode(errors="surrogateescape")), None)

    def _drop_expired(self) -> None:
        """All live equally long, so the oldest stand first."""
        now_s = self._clock()
        while self._sessions and next(iter(self._sessions.values())).expires_s <= now_s:
            self._sessions.popitem(last=False)


@dataclass(slots=True)
class _Failures:
    count: int
    since_s: float


class FailedLogIns:
    """Counts wrong tokens by address: after 10 in a minute the address waits until that minute is over."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._by_address: OrderedDict[str, _Failures] = OrderedDict()

    def check(self, address: str | None) -> None:
        """Raise `TooManyFailures` while an address has to wait; ask before a token is even looked at."""
        failures = self._current(_site(address))
        if failures is not None and failures.count >= MAX_FAILURES:
            raise TooManyFailures(max(1, round(failures.since_s + FAILURES_WITHIN_S - self._clock())))

    def record(self, address: str | None) -> None:
        """Count a wrong token."""
        site = _site(address)
        failures = self._current(site)
        if failures is not None:
            failures.count += 1
            return
        while len(self._by_address) >= MAX_ADDRESSES:
            self._by_address.popitem(last=False)
        self._by_address[site] = _Failures(1, self._clock())

    def _current(self, site: str) -> _Failures | None:
        failures = self._by_address.get(site)
        if failures is not None and self._clock() - failures.since_s >= FAILURES_WITHIN_S:
            del self._by_address[site]
            return None
        return failures


def _site(address: str | None) -> str:
    """Return what counts as one address: of IPv6 the network that one customer gets."""
    try:
        parsed = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return address or ""
    if parsed.version == 4:  # noqa: PLR2004 - the protocol's own number
        return str(parsed)
    return str(ipaddress.ip_network((parsed, IPV6_SITE_BITS), strict=False))


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
