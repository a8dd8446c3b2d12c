"""The metrics of a control plane, all in one place; no user ids."""

from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from ledger.webhook_queue import Backlog

DELIVERED: Final = "delivered"
REQUEST_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """One registry a process, passed by constructor."""

    def __init__(self, *, version: str = "unknown") -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # A second series for each counter that nobody queries.
        self.registry = CollectorRegistry()
        registry = self.registry
        self._requests = Counter(
            "spendgate_control_requests",
            "Requests answered, by route and status.",
            ("method", "route", "status"),
            registry=registry,
        )
        self._request_seconds = Histogram(
            "spendgate_control_request_seconds",
            "Time of a request; streams are not counted.",
            ("route",),
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self._problems = Counter(
            "spendgate_control_problems", "Answers that were problems.", ("code",), registry=registry
        )
        self._sessions = Gauge("spendgate_control_sessions", "Open sessions of browsers.", registry=registry)
        self._webhook_messages = Counter(
            "spendgate_control_webhook_messages",
            "Attempts to tell a webhook, by what became of them.",
            ("webhook", "result"),
            registry=registry,
        )
        self._webhook_lag = Gauge(
            "spendgate_control_webhook_lag_events",
            "Events that a webhook has not been told or spared yet.",
            ("webhook",),
            registry=registry,
        )
        self._webhook_told_at = Gauge(
            "spendgate_control_webhook_delivered_timestamp_seconds",
            "Unix time of a webhook's last delivery.",
            ("webhook",),
            registry=registry,
        )
        self._revision = Gauge(
            "spendgate_control_rules_revision", "Revision of the rules, as followed from the store.", registry=registry
        )
        self._rules = Gauge("spendgate_control_rules", "Rules in the store.", registry=registry)
        self._define_observation()
        self._loop_lag = Gauge("spendgate_control_loop_lag_seconds", "Lateness of the event loop.", registry=registry)
        build = Gauge("spendgate_control_build_info", "Version of this control plane.", ("version",), registry=registry)
        build.labels(version).set(1)

    def _define_observation(self) -> None:
        registry = self.registry
        self._tier_spend = Gauge(
            "spendgate_control_tier_spend_usd",
            "Spend of a tier's users in the workspace's current window; of the first 100 tiers with a template.",
            ("tier", "window"),
            registry=registry,
        )
        self._tier_calls = Gauge("spendgate_control_tier_calls", "Their calls.", ("tier", "window"), registry=registry)
        self._sidecars = Gauge(
            "spendgate_control_sidecars", "Sidecars by how their rules stand.", ("standing",), registry=registry
        )

    def record_request(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """Count a request that was answered after `seconds`, None for a stream; `route` is its pattern, no user's."""
        self._requests.labels(method, route, str(status)).inc()
        if seconds is not None:
            self._request_seconds.labels(route).observe(seconds)

    def record_problem(self, code: str) -> None:
        """Count an answer that was a problem."""
        self._problems.labels(code).inc()

    def record_webhook(self, webhook: str, result: str) -> None:
        """Count an attempt to tell a webhook."""
        self._webhook_messages.labels(webhook, result).inc()
        if result == DELIVERED:
            self._webhook_told_at.labels(webhook).set_to_current_time()

    def set_webhook_backlog(self, webhook: str, backlog: Backlog) -> None:
        """Show how far a webhook is behind."""
        self._webhook_lag.labels(webhook).set(backlog.lag + backlog.pending)

    def set_rules(self, revision: int, rules: int) -> None:
        """Show which rules are in the store."""
        self._revision.set(revision)
        self._rules.set(rules)

    def set_tiers(self, totals: Iterable[tuple[str, str, float, int]]) -> None:
        """Show what tiers have spent: name, window, USD, calls; a tier that is not among them is shown no longer."""
        self._tier_spend.clear()
        self._tier_calls.clear()
        for tier, window, usd, calls in totals:
            self._tier_spend.labels(tier, window).set(usd)
            self._tier_calls.labels(tier, window).set(calls)

    def set_sidecars(self, standing: str, count: int) -> None:
        """Show how many sidecars stand so."""
        self._sidecars.labels(standing).set(count)

    def show_sessions(self, count: Callable[[], int]) -> None:
        """Read the number of open sessions at each scrape."""
        self._sessions.set_function(count)

    def set_loop_lag(self, seconds: float) -> None:
        """Show how late the event loop is."""
        self._loop_lag.set(seconds)

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)
