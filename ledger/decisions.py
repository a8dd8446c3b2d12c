"""What the ledger answers: decisions for checks and reserves, settlements for what happens to holds afterwards."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from ledger.rules import ALLOW, Action, Policy, RuleKind
from ledger.windows import Window

RETENTION_MS: Final = 48 * 3600 * 1000
FUTURE_TOLERANCE_MS: Final = 5 * 60 * 1000
"""How far `reserved_at` may lie ahead of the store: a clock that is ahead must not lose a known actual."""
EVENT_RETENTION_MS: Final = 35 * 24 * 3600 * 1000
MAX_HOLD_MS: Final = 24 * 3600 * 1000
DEFAULT_TTL_S: Final = 600
MAX_TTL_S: Final = 3600


class Operation(StrEnum):
    """What a caller may ask of the ledger.

    `expire` is the sweeper's, `adjust` the operator's; `record` charges a call that was made without asking.
    """

    CHECK = "check"
    RESERVE = "reserve"
    SETTLE = "settle"
    RELEASE = "release"
    EXTEND = "extend"
    EXPIRE = "expire"
    ADJUST = "adjust"
    RECORD = "record"


class Outcome(StrEnum):
    """A decision's word, weakest first."""

    ALLOW = "allow"
    WARN = "warn"
    DRY_RUN = "dry_run"
    BLOCK = "block"


class Reason(StrEnum):
    """Why a decision is what it is."""

    NO_RULE = "no_rule"
    UNLIMITED = "unlimited"
    PLAN = "plan"
    STOPPED = "stopped"
    UNDER_LIMIT = "under_limit"
    THRESHOLD = "threshold"
    LIMIT = "limit"
    HELD_CAPACITY = "held_capacity"
    UNPRICED = "unpriced"
    STORE_UNAVAILABLE = "store_unavailable"
    OVERLOADED = "overloaded"


class HoldState(StrEnum):
    """The life of a reserve; `unknown` is a settle without a hold."""

    OPEN = "open"
    SETTLED = "settled"
    RELEASED = "released"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


class WarningKind(StrEnum):
    """A threshold was reached, or the limit is passed under `warn`."""

    THRESHOLD = "threshold"
    LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class Warning:  # noqa: A001 - the contract's word
    """What `warning` tells: the kind, the threshold in percent (None for `limit`), and whether it is the first."""

    kind: WarningKind
    threshold_pct: int | None
    first: bool


@dataclass(frozen=True, slots=True)
class BudgetTerms:
    """The rule's side of a budget, fixed when the decision was made. `limit_nanos` None means unlimited."""

    rule_id: str
    rule_kind: RuleKind
    action: Action
    limit_nanos: int | None
    window: Window

    def __hash__(self) -> int:
        """Hash what nearly always tells terms apart: they are looked up for every answer."""
        return hash(self.rule_id)


@dataclass(slots=True)
class Budget:
    """One rule applied to one user in one window, after the operation. Amounts are nano-USD."""

    terms: BudgetTerms
    outcome: Outcome
    spend_nanos: int
    held_nanos: int
    warning: Warning | None
    seeded: bool

    @property
    def remaining_nanos(self) -> int | None:
        """The limit less spend and holds (negative past the limit); None if unlimited."""
        limit = self.terms.limit_nanos
        return None if limit is None else limit - self.spend_nanos - self.held_nanos


@dataclass(slots=True)
class Decision:
    """The answer to a check or a reserve, or the admission side of a degraded answer.

    `budgets[decider]` is the rule that decided, else the fullest; `decider` is None without budgets. `at_ms` is the
    store's time of the first answer; a replay carries the first answer's numbers. `on_store_failure` is what the rules
    in force now say of this user's calls without the store. `text` is the decision as the store told it
    (`ledger.restores.answer_text`), for the journal.
    """

    operation: Operation
    request_id: str
    user_id: str
    tier: str | None
    outcome: Outcome
    reason: Reason
    budgets: tuple[Budget, ...]
    decider: int | None
    rules_revision: int
    at_ms: int
    ttl_ms: int = 0
    replayed: bool = False
    degraded: bool = False
    retry_after_ms: int | None = None
    hold_state: HoldState | None = None
    on_store_failure: Policy = ALLOW
    text: str = field(default="", repr=False, compare=False)

    @property
    def allowed(self) -> bool:
        """Everything but a block may proceed."""
        return self.outcome is not Outcome.BLOCK


@dataclass(slots=True)
class Settlement:
    """The answer to a settle, release or extend. Amounts are nano-USD.

    `state_before` is what the operation found, `charged_nanos` what this request id has charged now, `estimate_nanos`
    what the hold held. `deadline_ms` is the hold's deadline, Unix milliseconds, after an extend.
    """

    operation: Operation
    request_id: str
    user_id: str
    tier: str | None
    outcome: Outcome
    reason: Reason
    budgets: tuple[Budget, ...]
    decider: int | None
    rules_revision: int
    at_ms: int
    state_before: HoldState
    charged_nanos: int
    estimate_nanos: int
    deadline_ms: int | None = None
    unpriced: bool = False
    replayed: bool = False
    degraded: bool = False


@dataclass(frozen=True, slots=True)
class StalePlan:
    """Not decided, nothing written: the plan's windows do not contain the store's time; plan again and repeat."""

    store_ms: int


@dataclass(frozen=True, slots=True)
class TooLate:
    """Not decided, nothing written: the operation reached the store after its `not_after_ms`."""

    store_ms: int


@dataclass(frozen=True, slots=True)
class CounterState:
    """One counter as stored: nano-USD, calls, and whether it started from the workspace's counter."""

    spend_nanos: int
    held_nanos: int
    calls: int
    seeded: bool


@dataclass(frozen=True, slots=True)
class UserUsage:
    """A user's counters in the order of the plan's `counters`, and how many holds are open."""

    at_ms: int
    counters: tuple[CounterState, ...]
    open_holds: int
