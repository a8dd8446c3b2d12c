"""The errors of the SDK.

::

    SpendgateError
    ├── LLMBudgetExceededError      the call was refused: a limit, a stop, or a budget that could not be checked
    ├── SpendgateUnavailableError   the sidecar gave no answer, and the failure policy says deny
    ├── SpendgateRequestError       the sidecar refused the request itself; ``code`` says why
    └── InvalidAmountError          an amount that is none; also a `ValueError`

None of them is a subclass of a provider's error, so no handler of a provider's errors swallows one, and no retry loop
for them repeats the call.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from spendgate.decisions import Decision


class SpendgateError(Exception):
    """The root of everything that the SDK raises."""


class LLMBudgetExceededError(SpendgateError):
    """A call was refused. It was not made, and nothing was charged for it.

    `decision` is the whole decision; the properties are its most wanted fields. `reason` says whether a limit is in the
    way (``limit``, ``held_capacity``) or something else (``stopped``, ``unpriced``, ``store_unavailable``, ...).
    """

    code: ClassVar[str] = "BUDGET_EXCEEDED"

    def __init__(self, decision: Decision) -> None:
        super().__init__(_refusal(decision))
        self.decision = decision

    def __reduce__(self) -> tuple[type["LLMBudgetExceededError"], tuple[Decision]]:
        return type(self), (self.decision,)

    @property
    def user_id(self) -> str:
        """Whose call it was."""
        return self.decision.user_id

    @property
    def tier(self) -> str | None:
        """The tier that was sent with it."""
        return self.decision.tier

    @property
    def request_id(self) -> str:
        """The id under which it was asked."""
        return self.decision.request_id

    @property
    def limit_usd(self) -> Decimal | None:
        """The limit of the rule that refused, in USD."""
        return self.decision.limit_usd

    @property
    def spend_usd(self) -> Decimal | None:
        """What is spent of it, in USD, without what is held."""
        return self.decision.spend_usd

    @property
    def window_type(self) -> str | None:
        """``day``, ``week`` or ``month``."""
        return self.decision.window

    @property
    def window_start(self) -> datetime | None:
        """When that window began."""
        return self.decision.window_start

    @property
    def resets_at(self) -> datetime | None:
        """When it ends, and the budget is whole again."""
        return self.decision.resets_at

    @property
    def action(self) -> str | None:
        """The action of the rule that refused."""
        return self.decision.action

    @property
    def rule_id(self) -> str | None:
        """Which rule that was."""
        return self.decision.rule_id

    @property
    def reason(self) -> str:
        """Why the call was refused."""
        return self.decision.reason

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them, for the body of an answer: amounts as decimal text."""
        return {
            "code": self.code,
            "message": str(self),
            "user_id": self.user_id,
            "tier": self.tier,
            "limit_usd": _text(self.limit_usd),
            "spend_usd": _text(self.spend_usd),
            "window_type": self.window_type,
            "window_start": _moment(self.window_start),
            "resets_at": _moment(self.resets_at),
            "action": self.action,
            "rule_id": self.rule_id,
            "reason": self.reason,
            "request_id": self.request_id,
        }


class SpendgateUnavailableError(SpendgateError):
    """The sidecar gave no answer. A check or a reserve raises it when the failure policy says deny.

    `request_id` is the id of the operation: asked again under it, a call is never charged twice.
    """

    code: ClassVar[str] = "SPENDGATE_UNAVAILABLE"

    def __init__(self, message: str, *, user_id: str | None = None, request_id: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.user_id = user_id
        self.request_id = request_id

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message,), {"user_id": self.user_id, "request_id": self.request_id}


class SpendgateRequestError(SpendgateError):
    """The sidecar refused the request itself: a wrong field, a wrong token, a hold that is settled already.

    `status` and `code` are the sidecar's (its HTTP API documents them), `field` names the culprit if there is one.
    """

    def __init__(self, message: str, *, status: int, code: str, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.field = field

    @classmethod
    def of(cls, status: int, problem: Mapping[str, Any]) -> "SpendgateRequestError":
        """Return the error of a problem document."""
        code = str(problem["code"])
        detail = str(problem.get("detail") or problem.get("title") or code)
        field = problem.get("field")
        return cls(f"{detail} ({code})", status=status, code=code, field=None if field is None else str(field))

    def __reduce__(self) -> tuple[Any, ...]:
        rebuilt = _Rebuild(type(self), {"status": self.status, "code": self.code, "field": self.field})
        return rebuilt, (self.message,)


class InvalidAmountError(SpendgateError, ValueError):
    """An amount is not a number of USD from 0 to 8,000,000; nothing was sent."""


class _Rebuild:
    """Makes an error with keyword fields anew, for pickle."""

    def __init__(self, kind: type[SpendgateError], fields: dict[str, Any]) -> None:
        self._kind = kind
        self._fields = fields

    def __call__(self, message: str) -> SpendgateError:
        return self._kind(message, **self._fields)


def _refusal(decision: Decision) -> str:
    user = repr(decision.user_id)
    if decision.limit_usd is None or decision.spend_usd is None:
        return f"the call of user {user} was refused: {decision.reason}"
    held = f" and ${decision.held_usd} held" if decision.held_usd else ""
    resets = "" if decision.resets_at is None else f", resets at {decision.resets_at.isoformat()}"
    return (
        f"the call of user {user} was refused ({decision.reason}): ${decision.spend_usd} spent{held}"
        f" of ${decision.limit_usd} a {decision.window}{resets}"
    )


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:f}"


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
