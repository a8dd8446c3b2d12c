"""Operations to the KEYS and ARGV of the programs in ``lua/``; the layouts stand at the top of each program."""

from dataclasses import dataclass
from itertools import groupby

from ledger.adjustments import Adjustment
from ledger.keys import PartitionKeys
from ledger.operations import Admission, Resolution
from ledger.plans import FIELD, Plan
from ledger.restores import Restore, answer_text
from ledger.rules import PolicyKind

ROW = "\x1e"
"""Separates rows of fields in one argument, and the fields of one operation."""

GROUP = "\x1c"
"""Separates the fields of a frame, and of a plan."""

LABEL = "\x1d"
"""Separates the fields of a label."""

MAX_KNOWN_PLANS = 4096


@dataclass(frozen=True, slots=True, eq=False)
class FrameArguments:
    """What the plans of a tier's users have in common, as the programs read it (``lua/include/frames.lua``).

    `counter_stems` lack only the user id at their end.
    """

    keys: tuple[str, ...]
    text: str
    counter_stems: tuple[str, ...]

    def counter_keys(self, user_id: str) -> list[str]:
        """The keys of this user's counters, each seeded one followed by that of its previous window."""
        return [stem + user_id for stem in self.counter_stems]


@dataclass(frozen=True, slots=True, eq=False)
class PlanArguments:
    """A plan as the programs read it (``lua/include/plans.lua``)."""

    frame: FrameArguments
    text: str


def encode_frame(plan: Plan, keys: PartitionKeys) -> FrameArguments:
    """Return the share of KEYS and ARGV that a plan's frame has."""
    tier_keys = [keys.tier(entry.window, entry.tier) for entry in plan.tier_windows]
    stems: list[str] = []
    for counter in plan.counters:
        stems.append(keys.counter(counter.window, ""))
        if counter.previous is not None:
            stems.append(keys.counter(counter.previous, ""))
    return FrameArguments((keys.breakdown(plan.counters[0].window), *tier_keys), _frame_text(plan), tuple(stems))


def _frame_text(plan: Plan) -> str:
    fields = [
        plan.tier or "",
        ",".join(counter.window.code for counter in plan.counters),
        ",".join(f"{entry.calendar.timezone}|{entry.calendar.week_start}" for entry in plan.counters),
        ",".join("0" if counter.seed is None else str(counter.seed + 1) for counter in plan.counters),
        _tiers_text(plan),
    ]
    return GROUP.join(fields)


def _tiers_text(plan: Plan) -> str:
    """Return the tier totals (``lua/include/terms.lua``), each window that has a counter by its index."""
    indexes = {counter.window: str(index) for index, counter in enumerate(plan.counters, 1)}
    rows = [
        ",".join(indexes.get(entry.window, entry.window.code) for entry in entries) + FIELD + tier
        for tier, entries in groupby(plan.tier_windows, lambda entry: entry.tier)
    ]
    return ROW.join(rows)


def _plan_text(plan: Plan) -> str:
    on_unpriced = plan.on_unpriced
    fields = [
        str(plan.valid_from_ms),
        str(plan.valid_until_ms),
        plan.context,
        plan.on_expiry,
        str(on_unpriced.amount_nanos) if on_unpriced.kind is PolicyKind.AMOUNT else "",
        plan.calm_reason,
        "1" if plan.stopped else "0",
        ROW.join(f"{budget.counter + 1}{FIELD}{budget.spec}" for budget in plan.budgets),
    ]
    return GROUP.join(fields)


def _text(number: int | None) -> str:
    return "" if number is None else str(number)


def _rare_fields(admission: Admission) -> str:
    """Return what most admissions have not: meta, a refusal that is decided already, a usage without a price."""
    budget = 0 if admission.refusal_budget is None else admission.refusal_budget + 1
    return FIELD.join((admission.meta, admission.refusal or "", str(budget), "1" if admission.unpriced else "0"))


def admission_text(admission: Admission, label: int, plan: int) -> str:
    """Return the argument of one check or reserve (``lua/admit.lua``), by the numbers of its label and plan."""
    has_rare = admission.meta or admission.refusal or admission.unpriced
    return (
        f"{label}{ROW}{plan}{ROW}{admission.request_id}{ROW}{admission.user_id}{ROW}{admission.amount_nanos}{ROW}"
        f"{admission.sent}{ROW}{admission.not_after_ms}{ROW}{admission.input_tokens or ''}{ROW}"
        f"{admission.output_tokens or ''}{ROW}{admission.attempt}{ROW}{_rare_fields(admission) if has_rare else ''}"
    )


class PlanShelf:
    """Encodes plans for one partition and remembers them; bounded, emptied when full."""

    def __init__(self, keys: PartitionKeys) -> None:
        self._keys = keys
        self._known: dict[Plan, PlanArguments] = {}
        self._frames: dict[str, FrameArguments] = {}

    def get(self, plan: Plan) -> PlanArguments:
        """Return the plan's arguments."""
        known = self._known.get(plan)
        if known is None:
            if len(self._known) >= MAX_KNOWN_PLANS:
                self._known.clear()
                self._frames.clear()
            known = self._known[plan] = PlanArguments(self._frame(plan), _plan_text(plan))
        return known

    def _frame(self, plan: Plan) -> FrameArguments:
        """Return the frame, which is the same object for the same text, as long as it is remembered."""
        frame = encode_frame(plan, self._keys)
        return self._frames.setdefault(frame.text, frame)


class Batch:
    """Collects the KEYS and ARGV of one program run: what its operations share, then the operations."""

    def __init__(self, keys: PartitionKeys, shelf: PlanShelf) -> None:
        self._keys = keys
        self._shelf = shelf
        self._frames: dict[str, int] = {}
        self._frame_keys: list[str] = []
        self._plans: dict[Plan, tuple[int, int, FrameArguments]] = {}
        self._plan_texts: list[str | int] = []
        self._labels: dict[tuple[int, str, int, str, str, str], int] = {}
        self._keys_of_operations: list[str] = []
        self._holds_keys: list[str] = []
        self._arguments: list[str] = []
        self._size = 0

    def _add_plan(self, plan: Plan | None) -> tuple[int, int, FrameArguments | None]:
        """Return the number of a plan in this run, that of its frame, and the frame."""
        if plan is None:
            return 0, 0, None
        known = self._plans.get(plan)
        if known is None:
            encoded = self._shelf.get(plan)
            frame_number = self._add_frame(encoded.frame)
            self._plan_texts += (frame_number if plan.is_shared else -frame_number, encoded.text)
            known = self._plans[plan] = (len(self._plans) + 1, frame_number, encoded.frame)
        return known

    def _add_frame(self, frame: FrameArguments) -> int:
        number = self._frames.get(frame.text)
        if number is None:
            number = self._frames[frame.text] = len(self._frames) + 1
            self._frame_keys += frame.keys
        return number

    def _add_label(self, frame_number: int, operation: str, ttl_ms: int, call: Admission | Resolution | Restore) -> int:
        label = (frame_number, operation, ttl_ms, call.group, call.model, call.price_version)
        return self._labels.setdefault(label, len(self._labels) + 1)

    def _add(self, user_id: str, request_id: str, frame: FrameArguments | None, text: str) -> None:
        self._size += 1
        self._keys_of_operations.append(self._keys.request(user_id, request_id))
        self._holds_keys.append(self._keys.holds(user_id))
        if frame is not None:
            self._keys_of_operations += frame.counter_keys(user_id)
        self._arguments.append(text)

    def add_admission(self, admission: Admission) -> None:
        """Add a check or a reserve (``lua/admit.lua``)."""
        plan, frame_number, frame = self._add_plan(admission.plan)
        label = self._add_label(frame_number, admission.operation, admission.ttl_ms, admission)
        text = admission_text(admission, label, plan)
        self._add(admission.user_id, admission.request_id, frame, text)

    def add_resolution(self, resolution: Resolution) -> None:
        """Add a settle, release, extend, expire or record (``lua/resolve.lua``)."""
        plan, frame_number, frame = self._add_plan(resolution.plan)
        label = self._add_label(frame_number, resolution.operation, resolution.ttl_ms, resolution)
        self._add(
            resolution.user_id,
            resolution.request_id,
            frame,
            f"{label}{ROW}{plan}{ROW}{resolution.request_id}{ROW}{resolution.user_id}{ROW}"
            f"{_text(resolution.amount_nanos)}{ROW}{resolution.sent}{ROW}"
            f"{_text(resolution.reserved_at_ms)}{ROW}"
            f"{resolution.input_tokens or ''}{ROW}{resolution.output_tokens or ''}",
        )

    def add_adjustment(self, adjustment: Adjustment) -> None:
        """Add an operator's adjustment (``lua/adjust.lua``)."""
        plan, _, frame = self._add_plan(adjustment.plan)
        self._add(
            adjustment.user_id,
            adjustment.request_id,
            frame,
            f"{plan}{ROW}{adjustment.request_id}{ROW}{adjustment.user_id}{ROW}{adjustment.amount_nanos}{ROW}"
            f"{adjustment.sent}{ROW}{_text(adjustment.at_ms)}{ROW}{_text(adjustment.done_ms)}{ROW}{adjustment.meta}",
        )

    def add_restore(self, restore: Restore) -> None:
        """Add an operation of a journal (``lua/restore.lua``)."""
        plan, frame_number, frame = self._add_plan(restore.plan)
        label = self._add_label(frame_number, restore.kind, restore.ttl_ms, restore)
        answer = restore.answer or (answer_text(restore.decision) if restore.decision else restore.reason or "")
        self._add(
            restore.user_id,
            restore.request_id,
            frame,
            f"{label}{ROW}{plan}{ROW}{restore.request_id}{ROW}{restore.user_id}{ROW}"
            f"{_text(restore.amount_nanos)}{ROW}{restore.sent}{ROW}"
            f"{_text(restore.reserved_at_ms)}{ROW}{restore.input_tokens or ''}{ROW}{restore.output_tokens or ''}{ROW}"
            f"{1 if restore.unpriced else 0}{ROW}{restore.at_ms}{ROW}{restore.attempt}{ROW}{restore.not_after_ms}{ROW}"
            f"{answer}{ROW}{restore.meta}",
        )

    def keys(self, *shared: str) -> list[str]:
        """Return KEYS, `shared` first."""
        return [*shared, *self._frame_keys, *self._keys_of_operations, *self._holds_keys]

    def arguments(self, prefix: str, max_events: int) -> list[str | int]:
        """Return ARGV."""
        labels = [LABEL.join(map(str, label)) for label in self._labels]
        shared = [len(self._frames), *self._frames, len(self._plans), *self._plan_texts, len(labels), *labels]
        return [prefix, max_events, self._size, *shared, *self._arguments]
