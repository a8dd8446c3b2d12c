"""Scopes, tokens, sessions and the limit on failed log-ins, without HTTP."""

import pytest

from controlplane.auth import (
    FAILURES_WITHIN_S,
    MAX_ADDRESSES,
    MAX_FAILURES,
    MAX_SESSIONS,
    Caller,
    FailedLogIns,
    Scope,
    Sessions,
    Tokens,
    TooManyFailures,
    actor_of,
)

CALLER = Caller(scope=Scope.READ, actor="read token")


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


@pytest.mark.parametrize(
    ("expected", "scope", "needed"),
    [
        (True, Scope.READ, {Scope.READ}),
        (False, Scope.READ, {Scope.WRITE}),
        (False, Scope.READ, {Scope.PUSH}),
        (True, Scope.WRITE, {Scope.READ}),
        (True, Scope.WRITE, {Scope.PUSH}),
        (False, Scope.PUSH, {Scope.READ}),
        (False, Scope.PUSH, {Scope.WRITE}),
        (True, Scope.PUSH, {Scope.WRITE, Scope.PUSH}),
    ],
)
def test_a_scope_reaches_as_far_as_it_says(expected: bool, scope: Scope, needed: set[Scope]) -> None:
    """Writing includes looking; pushing includes neither."""
    assert expected == Caller(scope=scope, actor="").may(frozenset(needed))


def test_a_token_has_its_scope() -> None:
    """Each token its own, a wrong one none, and a part of one is a wrong one."""
    tokens = Tokens({Scope.READ: "read-token", Scope.WRITE: "write-token", Scope.PUSH: None})
    asked = (b"read-token", b"write-token", b"read-toke", b"", b"None")
    assert [Scope.READ, Scope.WRITE, None, None, None] == [tokens.scope_of(token) for token in asked]


def test_there_may_be_no_tokens() -> None:
    """Then everything is open, which only loopback allows; a token to push is for rule files alone."""
    settings: list[dict[Scope, str | None]] = [{scope: "t"} for scope in (Scope.PUSH, Scope.READ, Scope.WRITE)]
    assert [False, False, True, True] == [Tokens(tokens).guard for tokens in ({Scope.READ: None}, *settings)]


def test_a_session_is_found_by_its_secret() -> None:
    """And by nothing else; secrets differ."""
    sessions = Sessions(lifetime_s=10, clock=Clock())
    first, second = sessions.open(CALLER), sessions.open(CALLER)
    assert first != second
    assert (CALLER, None, None) == (sessions.find(first), sessions.find(first[:-1]), sessions.find(""))


def test_a_session_ends_by_itself() -> None:
    """At the end of its lifetime, to the second."""
    clock = Clock()
    sessions = Sessions(lifetime_s=10, clock=clock)
    secret = sessions.open(CALLER)
    clock.now_s = 9.9
    assert CALLER == sessions.find(secret)
    clock.now_s = 10.0
    assert sessions.find(secret) is None


def test_a_closed_session_is_gone() -> None:
    """Closing it twice is no error."""
    sessions = Sessions(lifetime_s=10, clock=Clock())
    secret = sessions.open(CALLER)
    sessions.close(secret)
    sessions.close(secret)
    assert sessions.find(secret) is None


def test_sessions_are_bounded() -> None:
    """Beyond the bound the oldest ends."""
    sessions = Sessions(lifetime_s=10, clock=Clock())
    secrets = [sessions.open(CALLER) for _ in range(MAX_SESSIONS + 1)]
    assert (MAX_SESSIONS, None, CALLER) == (len(sessions), sessions.find(secrets[0]), sessions.find(secrets[-1]))


def test_after_ten_failures_an_address_waits() -> None:
    """Others do not, and after a minute neither does this one."""
    clock = Clock()
    failures = FailedLogIns(clock=clock)
    for _ in range(MAX_FAILURES):
        failures.check("10.0.0.1")
        failures.record("10.0.0.1")
    clock.now_s = 20.0
    with pytest.raises(TooManyFailures) as caught:
        failures.check("10.0.0.1")
    assert 40 == caught.value.retry_after_s
    failures.check("10.0.0.2")
    clock.now_s = FAILURES_WITHIN_S
    failures.check("10.0.0.1")


def test_a_network_of_ipv6_counts_as_one_address() -> None:
    """Who has one address of it has all of them."""
    failures = FailedLogIns(clock=Clock())
    for number in range(MAX_FAILURES):
        failures.record(f"2001:db8::{number + 1:x}")
    failures.check("2001:db8:0:1::1")
    with pytest.raises(TooManyFailures):
        failures.check("2001:db8::ffff")


def test_addresses_are_bounded() -> None:
    """An attacker with many addresses cannot fill the memory."""
    failures = FailedLogIns(clock=Clock())
    for number in range(MAX_ADDRESSES + 5):
        failures.record(f"address-{number}")
    assert MAX_ADDRESSES == len(failures._by_address)


def test_an_actor_is_what_was_proved() -> None:
    """The name beside it is the caller's word."""
    assert ("write token", "ann (write token)") == (actor_of("write token", None), actor_of("write token", "ann"))
