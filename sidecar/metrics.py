"""The metrics of a sidecar, all in one place. Children of the hot path are bound once and remembered; no user ids."""

import math
import time
from collections.abc import Callable
from typing import Final, Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    disable_created_metrics,
    generate_latest,
)

from ledger.decisions import Decision, HoldState, Settlement
from ledger.money import NANOS_PER_USD
from ledger.restores import Restored
from ledger.rules import RuleSet
from ledger.store_checks import UNSAFE
from sidecar.breaker import BreakerState
from sidecar.condition import Condition
from sidecar.tallies import Distribution, Tally

DECISION_BUCKETS: Final = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Observer(Protocol):
    """Whoever else wants to know what was answered: a log, a trace."""

    def decided(self, decision: Decision, seconds: float) -> None:
        """Hear of a check or reserve that was answered after `seconds`."""
        ...

    def settled(self, settlement: Settlement) -> None:
        """Hear of a settle, release or extend that was answered."""
        ...


class Metrics:
    """One registry a process, passed by constructor; `observers` hear of the same answers."""

    def __init__(self, *, version: str = "unknown") -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # A second series for each counter that nobody queries.
        self.registry = CollectorRegistry()
        registry = self.registry
        self._decisions = Tally(
            "spendgate_decisions",
            "Checks and reserves answered.",
            ("operation", "decision", "reason", "degraded"),
            registry=registry,
        )
        self._define_settlements()
        self._decision_seconds = Distribution(
            "spendgate_decision_seconds",
            "Time of a decision from arrival to answer.",
            DECISION_BUCKETS,
            registry=registry,
        )
        self._problems = Counter("spendgate_problems", "Answers that were no decision.", ("code",), registry=registry)
        self._store_errors = Counter("spendgate_store_errors", "Failures of the store.", ("code",), registry=registry)
        self._store_seconds = Distribution(
            "spendgate_store_round_trip_seconds",
            "Time of one script run, seen from here.",
            DECISION_BUCKETS,
            registry=registry,
        )
        self._batch_size = Distribution(
            "spendgate_batch_operations",
            "Operations in one script run.",
            BATCH_BUCKETS,
            registry=registry,
        )
        self._define_rules()
        self._define_breaker()
        self._define_safety()
        self._define_journal()
        self._loop_lag = Gauge("spendgate_loop_lag_seconds", "Lateness of the event loop.", registry=registry)
        self._streams = Gauge("spendgate_streams", "WebSocket streams that are open.", registry=registry)
        self._queue = Gauge("spendgate_queue_operations", "Operations waiting for the store.", registry=registry)
        build = Gauge("spendgate_build_info", "Version of this sidecar.", ("version",), registry=registry)
        build.labels(version).set(1)
        self.store_failures = 0
        self.observers: tuple[Observer, ...] = ()
        self.condition = Condition()
        self._store_failures: dict[str, Counter] = {}

    def _define_safety(self) -> None:
        self._unsafe = Gauge(
            "spendgate_store_unsafe",
            "1 while the store can lose or refuse money for this reason.",
            ("reason",),
            registry=self.registry,
        )
        for reason in UNSAFE:
            self._unsafe.labels(reason).set(0)

    def _define_settlements(self) -> None:
        registry = self.registry
        self._settlements = Tally(
            "spendgate_settlements",
            "Settles, releases and extends answered, by the state that the hold had.",
            ("operation", "state_before"),
            registry=registry,
        )
        self._overruns = Counter("spendgate_overruns", "Settles above their estimates.", registry=registry)
        self._overrun_usd = Counter(
            "spendgate_overrun_usd", "What settles were above their estimates, in USD.", registry=registry
        )

    def _define_rules(self) -> None:
        registry = self.registry
        self._revision = Gauge("spendgate_rules_revision", "Revision of the rules in force.", registry=registry)
        self._rules = Gauge("spendgate_rules", "Rules in force.", registry=registry)
        self._loaded_at = Gauge(
            "spendgate_rules_loaded_timestamp_seconds", "Unix time when the rules came into force.", registry=registry
        )
        self._source = Gauge("spendgate_rules_source", "Where the rules come from.", ("source",), registry=registry)
        self._rules_awaited = Gauge(
            "spendgate_rules_awaited", "1 while nothing is admitted because no rules have come.", registry=registry
        )
        self._rules_unkept = Gauge(
            "spendgate_rules_unkept", "1 while the disk refuses the copy of the rules in force.", registry=registry
        )
        self._followed_at = Gauge(
            "spendgate_rules_followed_timestamp_seconds",
            "Unix time when the rules were last found to be the store's.",
            registry=registry,
        )
        self._rejected = Counter("spendgate_rules_rejected", "Rule sets refused.", registry=registry)
        self._unpriced = Counter(
            "spendgate_unpriced_calls", "Usages for which the price book has no price.", registry=registry
        )
        self._usage_events = Counter(
            "spendgate_usage_events", "Usage events, by what became of them.", ("result",), registry=registry
        )
        self._prices_built_ms: int | None = None
        age = Gauge(
            "spendgate_prices_age_seconds", "Age of the price book in force; NaN without one.", registry=registry
        )
        age.set_function(self._prices_age_s)

    def _define_journal(self) -> None:
        registry = self.registry
        self._journal_failures = Counter(
            "spendgate_journal_failures",
            "Operations that could not be made durable: refused, or kept in memory only.",
            registry=registry,
        )
        replayed = Counter(
            "spendgate_journal_replayed", "Operations brought to the store again.", ("result",), registry=registry
        )
        self._replayed = {result: replayed.labels(result) for result in Restored}
        self._journal_pending = Gauge(
            "spendgate_journal_pending_records", "Operations the store has not acknowledged.", registry=registry
        )
        self._journal_bytes = Gauge("spendgate_journal_bytes", "Size of the journal's files.", registry=registry)
        self._journal_oldest = Gauge(
            "spendgate_journal_oldest_pending_seconds",
            "Age of the oldest operation that the store has not acknowledged; 0 without one.",
            registry=registry,
        )
        self._recovering = Gauge(
            "spendgate_recovering", "Partitions whose lost data is being made good.", registry=registry
        )

    def show_journal(self, *, size: Callable[[], float], oldest_s: Callable[[], float]) -> None:
        """Take the journal's size in bytes and the age of what waits, in seconds, at each scrape."""
        self._journal_bytes.set_function(size)
        self._journal_oldest.set_function(oldest_s)

    def record_journal_failure(self) -> None:
        """Count an operation that could not be made durable."""
        self._journal_failures.inc()

    def record_replayed(self, result: Restored, operations: int) -> None:
        """Count operations that were brought to the store again."""
        self._replayed[result].inc(operations)

    def set_journal(self, pending: int, recovering: int) -> None:
        """Show what the store has not acknowledged, and how many partitions are made good."""
        self._journal_pending.set(pending)
        self._recovering.set(recovering)
        self.condition.set_journal(pending, is_recovering=recovering > 0)

    def _define_breaker(self) -> None:
        registry = self.registry
        self._breaker_open = Gauge(
            "spendgate_breaker_open",
            "Circuit breakers that keep operations from the store now; its probes included.",
            registry=registry,
        )
        transitions = Counter(
            "spendgate_breaker_transitions", "Changes of a circuit breaker's state.", ("to",), registry=registry
        )
        self._allowance_spent = Counter(
            "spendgate_allowance_spent_usd",
            "Let through by local allowances while the store was away; what settles gave back is not taken off.",
            registry=registry,
        )
        self._transitions = {state: transitions.labels(state) for state in BreakerState}

    def record_decision(self, decision: Decision, seconds: float) -> None:
        """Count a check or reserve that was answered after `seconds`."""
        key = (decision.operation, decision.outcome, decision.reason, "true" if decision.degraded else "false")
        counts = self._decisions.counts
        counts[key] = counts.get(key, 0) + 1
        if decision.degraded:
            self.condition.note_degraded(decision.at_ms)
        self._decision_seconds.observe(seconds)
        for observer in self.observers:
            observer.decided(decision, seconds)

    def record_settlement(self, settlement: Settlement) -> None:
        """Count a settle, release or extend that was answered."""
        key = (settlement.operation, settlement.state_before)
        counts = self._settlements.counts
        counts[key] = counts.get(key, 0) + 1
        over_nanos = settlement.charged_nanos - settlement.estimate_nanos
        if over_nanos > 0 and settlement.state_before is not HoldState.UNKNOWN and not settlement.replayed:
            self._overruns.inc()
            self._overrun_usd.inc(over_nanos / NANOS_PER_USD)
        for observer in self.observers:
            observer.settled(settlement)

    def record_batch(self, operations: int, seconds: float) -> None:
        """Count one script run."""
        self._batch_size.observe(operations)
        self._store_seconds.observe(seconds)

    def record_store_error(self, code: str) -> None:
        """Count a failure of the store that an operation met."""
        self.store_failures += 1
        child = self._store_failures.get(code)
        if child is None:
            child = self._store_failures[code] = self._store_errors.labels(code)
        child.inc()

    def set_store_unsafe(self, reasons: set[str]) -> None:
        """Show why the store can lose or refuse money now, by itself (`ledger.store_checks.UNSAFE`)."""
        for reason in UNSAFE:
            self._unsafe.labels(reason).set(reason in reasons)

    def record_breaker(self, state: BreakerState, *, now_open: int) -> None:
        """Count a transition, and show how many breakers are open after it."""
        self._transitions[state].inc()
        self._breaker_open.set(now_open)
        self.condition.set_breakers(now_open)

    def record_allowance(self, nanos: int) -> None:
        """Count what a call has taken from local allowances."""
        self._allowance_spent.inc(nanos / NANOS_PER_USD)

    def record_problem(self, code: str) -> None:
        """Count an answer that was no decision."""
        self._problems.labels(code).inc()

    def record_usage_event(self, result: str) -> None:
        """Count a usage event: charged, unpriced, replayed, or the code of its problem."""
        self._usage_events.labels(result).inc()

    def record_rules_rejected(self) -> None:
        """Count a rule set that was refused."""
        self._rejected.inc()

    def record_unpriced(self) -> None:
        """Count a usage that has no price."""
        self._unpriced.inc()

    def record_rules_followed(self) -> None:
        """Note that the rules in force are those of the store now."""
        self._followed_at.set_to_current_time()

    def set_rules_source(self, source: str) -> None:
        """Show where the rules come from."""
        self._source.labels(source).set(1)

    def show_rules_awaited(self, is_awaited: Callable[[], bool]) -> None:
        """Ask at each scrape whether the first rules are yet to come."""
        self._rules_awaited.set_function(lambda: float(is_awaited()))

    def show_rules_unkept(self, is_unkept: Callable[[], bool]) -> None:
        """Ask at each scrape whether a restart would begin with older rules, because the disk refused the copy."""
        self._rules_unkept.set_function(lambda: float(is_unkept()))

    def set_rules(self, rule_set: RuleSet) -> None:
        """Show which rules are in force since now."""
        self._revision.set(rule_set.revision)
        self._rules.set(rule_set.count)
        self._loaded_at.set_to_current_time()
        self._prices_built_ms = rule_set.prices.built_ms

    def _prices_age_s(self) -> float:
        built_ms = self._prices_built_ms
        return math.nan if built_ms is None else max(0.0, time.time() - built_ms / 1000)

    def set_loop_lag(self, seconds: float) -> None:
        """Show how late the event loop is."""
        self._loop_lag.set(seconds)

    def set_streams(self, streams: int) -> None:
        """Show how many WebSocket streams are open."""
        self._streams.set(streams)

    def set_queue(self, operations: int) -> None:
        """Show how many operations wait for the store."""
        self._queue.set(operations)

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)
