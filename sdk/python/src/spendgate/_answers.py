"""Documents of the sidecar to values. Fields that are unknown here are ignored: a sidecar may be newer than its SDK."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

from spendgate.decisions import Budget, Decision, Settlement, UserUsage, WarningDetail, WindowUsage

Document = Mapping[str, Any]
Number = Decimal | int | float | str
T = TypeVar("T")


class NotASidecar(Exception):
    """What answered is no sidecar: neither a decision nor a problem document came back."""


def read_decision(fields: Document) -> Decision:
    """Return the answer to a check or a reserve; raises `NotASidecar` if it is none."""
    return _read(_decision, fields)


def read_settlement(fields: Document) -> Settlement:
    """Return the answer to a settle, release or extend; raises `NotASidecar` if it is none."""
    return _read(_settlement, fields)


def read_usage(fields: Document) -> UserUsage:
    """Return the answer about a user's usage; raises `NotASidecar` if it is none."""
    return _read(_usage, fields)


def _read(read: Callable[[Document], T], fields: Document) -> T:
    try:
        return read(fields)
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise NotASidecar(f"the answer is not what a sidecar answers: {error!r}") from error


def _decision(fields: Document) -> Decision:
    return Decision(
        decision=fields["decision"],
        allowed=fields["allowed"],
        would_block=fields.get("would_block", False),
        reason=fields["reason"],
        request_id=fields["request_id"],
        replayed=fields.get("replayed", False),
        degraded=fields.get("degraded", False),
        user_id=fields["user_id"],
        tier=fields.get("tier"),
        action=fields.get("action"),
        rule_id=fields.get("rule_id"),
        rule_kind=fields.get("rule_kind"),
        limit_usd=_usd(fields.get("limit_usd")),
        spend_usd=_usd(fields.get("spend_usd")),
        held_usd=_usd(fields.get("held_usd")),
        remaining_usd=_usd(fields.get("remaining_usd")),
        percent=_usd(fields.get("percent")),
        window=fields.get("window"),
        window_start=_moment(fields.get("window_start")),
        resets_at=_moment(fields.get("resets_at")),
        warning=_warning(fields.get("warning")),
        budgets=_budgets(fields),
        rules_revision=fields.get("rules_revision"),
        retry_after_ms=fields.get("retry_after_ms"),
        reserved_at=_moment(fields.get("reserved_at")),
        expires_at=_moment(fields.get("expires_at")),
        hold_state=fields.get("hold_state"),
        on_store_failure=_policy(fields.get("on_store_failure")),
    )


def _settlement(fields: Document) -> Settlement:
    return Settlement(
        decision=fields.get("decision", "allow"),
        reason=fields.get("reason", "under_limit"),
        request_id=fields["request_id"],
        user_id=fields["user_id"],
        tier=fields.get("tier"),
        replayed=fields.get("replayed", False),
        degraded=fields.get("degraded", False),
        hold_state=fields.get("hold_state"),
        state_before=fields.get("state_before"),
        cost_usd=_usd(fields.get("cost_usd")),
        estimate_usd=_usd(fields.get("estimate_usd")),
        overrun=fields.get("overrun", False),
        late=fields.get("late", False),
        reconstructed=fields.get("reconstructed", False),
        unpriced=fields.get("unpriced", False),
        expires_at=_moment(fields.get("expires_at")),
        budgets=_budgets(fields),
    )


def _usage(fields: Document) -> UserUsage:
    return UserUsage(
        user_id=fields["user_id"],
        tier=fields.get("tier"),
        at=_certain_moment(fields["at"]),
        open_holds=fields["open_holds"],
        windows=tuple(_window(window) for window in fields["windows"]),
        budgets=_budgets(fields),
    )


def _window(fields: Document) -> WindowUsage:
    return WindowUsage(
        window=fields["window"],
        window_start=_certain_moment(fields["window_start"]),
        resets_at=_certain_moment(fields["resets_at"]),
        spend_usd=_certain_usd(fields["spend_usd"]),
        held_usd=_certain_usd(fields["held_usd"]),
        calls=fields["calls"],
    )


def _budgets(fields: Document) -> tuple[Budget, ...]:
    return tuple(_budget(budget) for budget in fields.get("budgets", ()))


def _budget(fields: Document) -> Budget:
    return Budget(
        rule_id=fields["rule_id"],
        rule_kind=fields["rule_kind"],
        action=fields["action"],
        outcome=fields.get("outcome"),
        limit_usd=_usd(fields["limit_usd"]),
        spend_usd=_certain_usd(fields["spend_usd"]),
        held_usd=_certain_usd(fields["held_usd"]),
        remaining_usd=_usd(fields["remaining_usd"]),
        percent=_usd(fields["percent"]),
        window=fields["window"],
        window_start=_certain_moment(fields["window_start"]),
        resets_at=_certain_moment(fields["resets_at"]),
        warning=_warning(fields.get("warning")),
        seeded=fields.get("seeded", False),
    )


def _warning(fields: Document | None) -> WarningDetail | None:
    if fields is None:
        return None
    return WarningDetail(kind=fields["kind"], threshold_pct=fields.get("threshold_pct"), first=fields["first"])


def _policy(policy: str | Document | None) -> str | Document | None:
    return {name: _usd(amount) for name, amount in policy.items()} if isinstance(policy, Mapping) else policy


def _usd(value: Number | None) -> Decimal | None:
    return None if value is None else _certain_usd(value)


def _certain_usd(value: Number) -> Decimal:
    """Return an amount without the zero that a number may end in: 5, not 5.0. A float means its shortest form."""
    amount = Decimal(repr(value) if isinstance(value, float) else value)
    whole = int(amount)
    return Decimal(whole) if whole == amount else amount


def _moment(text: str | None) -> datetime | None:
    return None if text is None else _certain_moment(text)


def _certain_moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
