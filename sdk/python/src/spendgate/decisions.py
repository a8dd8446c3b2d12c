"""What the sidecar answers, as values: decisions, budgets, settlements, usage. Amounts are exact `Decimal` USD."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

StorePolicy = str | Mapping[str, Any]
"""`on_store_failure`: ``"deny"``, ``"allow"`` or ``{"allow_up_to_usd": x}``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarningDetail:
    """What a budget warns of: `kind` is ``threshold`` (then `threshold_pct` is one) or ``limit``.

    `first` is true once a threshold, budget and window: the sidecars see to it, over all processes.
    """

    kind: str
    threshold_pct: int | None
    first: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """One rule applied to one user in one window, after the operation. Limits are None where there is none."""

    rule_id: str
    rule_kind: str
    action: str
    outcome: str | None
    limit_usd: Decimal | None
    spend_usd: Decimal
    held_usd: Decimal
    remaining_usd: Decimal | None
    percent: Decimal | None
    window: str
    window_start: datetime
    resets_at: datetime
    warning: WarningDetail | None = None
    seeded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer to a check or a reserve; the sidecar's HTTP API documents each field.

    The fields from `rule_id` to `warning` describe the rule that decided, else the fullest one, and are None without
    one. `degraded`: not decided by the ledger but by a failure policy, of the sidecar or (reason
    ``sidecar_unavailable``) of this client.
    """

    decision: str
    allowed: bool
    would_block: bool = False
    reason: str
    request_id: str
    replayed: bool = False
    degraded: bool = False
    user_id: str
    tier: str | None = None
    action: str | None = None
    rule_id: str | None = None
    rule_kind: str | None = None
    limit_usd: Decimal | None = None
    spend_usd: Decimal | None = None
    held_usd: Decimal | None = None
    remaining_usd: Decimal | None = None
    percent: Decimal | None = None
    window: str | None = None
    window_start: datetime | None = None
    resets_at: datetime | None = None
    warning: WarningDetail | None = None
    budgets: tuple[Budget, ...] = ()
    rules_revision: int | None = None
    retry_after_ms: int | None = None
    reserved_at: datetime | None = None
    expires_at: datetime | None = None
    hold_state: str | None = None
    on_store_failure: StorePolicy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """The answer to a settle, release or extend: what was found, what is charged now, and the budgets after it."""

    decision: str
    reason: str
    request_id: str
    user_id: str
    tier: str | None = None
    replayed: bool = False
    degraded: bool = False
    hold_state: str | None = None
    state_before: str | None = None
    cost_usd: Decimal | None = None
    estimate_usd: Decimal | None = None
    overrun: bool = False
    late: bool = False
    reconstructed: bool = False
    unpriced: bool = False
    expires_at: datetime | None = None
    budgets: tuple[Budget, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowUsage:
    """What a user spent, holds and asked in one window of the workspace."""

    window: str
    window_start: datetime
    resets_at: datetime
    spend_usd: Decimal
    held_usd: Decimal
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UserUsage:
    """A user's day, week and month, each budget that applies, and how many holds are open."""

    user_id: str
    tier: str | None
    at: datetime
    open_holds: int
    windows: tuple[WindowUsage, ...]
    budgets: tuple[Budget, ...]
