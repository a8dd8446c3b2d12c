"""For whom calls are made: said once around a request of your own users, read by every wrapped client inside it."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Payer:
    """Whose budget a call takes, with the tier and the group it is counted under."""

    user_id: str
    tier: str | None = None
    group: str | None = None


_payer: ContextVar[Payer | None] = ContextVar("spendgate_payer", default=None)


@contextlib.contextmanager
def acting_for(user_id: str, *, tier: str | None = None, group: str | None = None) -> Iterator[Payer]:
    """Make the calls inside the block on this user's budget.

    It holds for the tasks that are started inside it, as context variables do; a thread of your own starts without it
    (`contextvars.copy_context` takes it along).
    """
    with acting_as(Payer(user_id=user_id, tier=tier, group=group)) as payer:
        yield payer


@contextlib.contextmanager
def acting_as(payer: Payer) -> Iterator[Payer]:
    """Do the same for a `Payer`."""
    before = _payer.get()
    _payer.set(payer)
    try:
        yield payer
    finally:
        # Not by a token: what begins in one context may end in another, as an abandoned generator does.
        _payer.set(before)


class PayerUnknownError(LookupError):
    """A wrapped client was called without a user: nothing was sent, as no budget could answer for it."""


def payer_of(user_id: str | None, tier: str | None, group: str | None) -> Payer:
    """Return who pays: the user a client was wrapped for, else the one of `acting_for`.

    Raises `PayerUnknownError` if there is neither.
    """
    acting = _payer.get()
    if user_id is not None:
        return Payer(user_id=user_id, tier=tier, group=group)
    if acting is None:
        raise PayerUnknownError("wrap the client with user_id=..., or call it inside `with acting_for(user_id):`")
    return Payer(user_id=acting.user_id, tier=acting.tier or tier, group=acting.group or group)
