"""How a call ended, and what is charged for it.

A hold ends in one of three ways. `Settle`: the usage is known. `Release`: the provider did not begin to generate, or
nothing was sent. `LeaveToExpiry`: the outcome is not known, so the hold stays until its time is over and the workspace
decides (by default it is charged at its estimate).
"""

import logging
from dataclasses import dataclass
from typing import Any, Final

from spendgate.async_hold import AsyncHold
from spendgate.errors import SpendgateError
from spendgate.hold import Hold
from spendgate.providers.requests import Request
from spendgate.providers.usages import field
from spendgate.usage import Usage

log = logging.getLogger("spendgate")

NOTHING_WAS_SENT: Final = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol"})
"""The names of httpx's errors, in any of its generations, that come before the first byte of a request."""

ANSWERED_IN_TIME: Final = 400
GATEWAY_GAVE_UP: Final = frozenset({408, 499, 502, 504, 520, 522, 524})
"""Statuses by which something on the way gave up on a provider that may have gone on."""


@dataclass(frozen=True, slots=True)
class Settle:
    """Charge what was used."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class Release:
    """Charge nothing."""


@dataclass(frozen=True, slots=True)
class LeaveToExpiry:
    """Leave the estimate held."""


Outcome = Settle | Release | LeaveToExpiry


def outcome_of_answer(request: Request, answer: Any) -> Outcome:
    """Return the outcome of a whole answer: its usage, wherever the provider's object or document has it."""
    usage = request.endpoint.read_usage(_model(request, answer), request.estimate.provider, field(answer, "usage"))
    return LeaveToExpiry() if usage is None else Settle(usage)


def outcome_of_error(request: Request, error: BaseException, *, was_sent: bool) -> Outcome:
    """Return the outcome of a call that raised; `was_sent` says whether a request left at all."""
    answer = getattr(error, "completion", None)
    if answer is not None:  # openai raises for an answer that it cannot parse into the type asked for
        return outcome_of_answer(request, answer)
    return Release() if not was_sent or was_refused(error) else LeaveToExpiry()


def was_refused(error: BaseException) -> bool:
    """Tell whether an attempt ended before anything was generated."""
    names = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return was_refused_with(status)
    cause = error.__cause__
    return bool(names & NOTHING_WAS_SENT) or (cause is not None and was_refused(cause))


def was_refused_with(status: int) -> bool:
    """Tell whether an HTTP status says that nothing was generated; providers bill no request that they refuse."""
    return status >= ANSWERED_IN_TIME and status not in GATEWAY_GAVE_UP


def _model(request: Request, answer: Any) -> str:
    """Return the name to price: that of the hold, else the answer's own."""
    named = field(answer, "model")
    return named if isinstance(named, str) and not request.names_model else request.estimate.model


def conclude(hold: Hold, outcome: Outcome) -> None:
    """End a hold. A failure is logged: the provider's answer reaches the caller all the same."""
    try:
        match outcome:
            case Settle(usage):
                hold.settle(usage=usage)
            case Release():
                hold.release()
            case LeaveToExpiry():
                hold.close(outcome_unknown=True)
    except SpendgateError:
        log.exception("hold %s could not be ended with %s", hold.request_id, outcome)


async def conclude_async(hold: AsyncHold, outcome: Outcome) -> None:
    """End a hold, as `conclude` does."""
    try:
        match outcome:
            case Settle(usage):
                await hold.settle(usage=usage)
            case Release():
                await hold.release()
            case LeaveToExpiry():
                await hold.close(outcome_unknown=True)
    except SpendgateError:
        log.exception("hold %s could not be ended with %s", hold.request_id, outcome)


def abandon(hold: Hold | AsyncHold, outcome: Outcome) -> None:
    """End a hold without waiting: what is known of it is delivered in the background."""
    if isinstance(outcome, Settle):
        hold.note_usage(outcome.usage)
    hold.abandon()
