"""Adjustments: an operator's credits, refunds and corrections of what a user has spent."""

from dataclasses import dataclass
from typing import Final

from ledger.errors import CreditExceedsSpend, InvalidInput
from ledger.money import usd_text
from ledger.plans import FIELD, Plan
from ledger.windows import Window, rfc3339

ADJUSTMENT_FIELDS: Final = ("operation", "tier", "usd", "at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """Adds to what a user has spent (nano-USD), or takes from it where `amount_nanos` is below zero.

    `plan` is the plan at `at_ms`, or of now if that is None: all its windows are corrected, and its tier totals if it
    has a tier. `sent` is the text that two adjustments with one id must share (`adjustment_sent`), `meta` the JSON
    that goes into the event. `done_ms` is when it was done before the store lost it: nothing refuses it then, for the
    charges that it takes from may come back later.
    """

    user_id: str
    request_id: str
    amount_nanos: int
    plan: Plan
    sent: str
    at_ms: int | None = None
    done_ms: int | None = None
    meta: str = ""


@dataclass(frozen=True, slots=True)
class AdjustedWindow:
    """A user's counter after an adjustment; nano-USD."""

    window: Window
    spend_nanos: int
    held_nanos: int
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjusted:
    """The answer to an adjustment; a replay carries the first one's numbers. `stored_ms` is the store's time."""

    request_id: str
    user_id: str
    tier: str | None
    amount_nanos: int
    stored_ms: int
    windows: tuple[AdjustedWindow, ...]
    replayed: bool = False


def moment_in_future() -> InvalidInput:
    """Return the error of a moment that is not yet."""
    return InvalidInput("at lies in the future of the store's clock", field="at")


def moment_too_old() -> InvalidInput:
    """Return the error of a moment whose counters are not kept any more."""
    return InvalidInput("at is more than 35 days back; counters are not kept longer", field="at")


def credit_exceeds_spend(window: Window, tier: str | None, spend_nanos: int) -> CreditExceedsSpend:
    """Return the error of a credit beyond what was spent: by the user, or by a tier's users, in a window."""
    whose = "the user" if tier is None else f"the tier {tier!r}"
    span = f"the {window.type} from {rfc3339(window.start_s * 1000)} to {rfc3339(window.end_s * 1000)}"
    message = f"usd takes more than {whose} spent in {span}: at most {usd_text(spend_nanos)} can be given back there"
    return CreditExceedsSpend(message, field="usd")


def adjustment_sent(tier: str | None, amount_nanos: int, at_ms: int | None) -> str:
    """Return what is compared when a request id comes again: that it is one, tier, amount and moment; not the note."""
    return FIELD.join(["adjust", tier or "", str(amount_nanos), "" if at_ms is None else str(at_ms)])
