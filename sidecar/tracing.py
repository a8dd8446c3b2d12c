"""OpenTelemetry traces, for those who want them: a span for each HTTP call, one for its wait on the store.

Nothing of it is loaded, and no call pays for it, unless `SPENDGATE_TRACES` says so. The exporter is configured by
OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER). Names of models and
tokens follow the semantic conventions for generative AI. No user id is ever in a span.
"""

import os
from asyncio import Future
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Any, Final, Protocol

from opentelemetry import context, propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

from ledger.decisions import Decision, Settlement
from ledger.errors import StoreError

SERVICE: Final = "spendgate-sidecar"

Handler = Callable[[Any], Awaitable[Any]]


class Submits(Protocol):
    """What a lane does."""

    @property
    def depth(self) -> int:
        """How many operations wait."""
        ...

    def submit(self, operation: Any) -> "Future[Any]":
        """Queue an operation."""
        ...

    def ask(self, operation: Any, tell: Callable[[Any], None]) -> None:
        """Queue an operation whose answer is told."""
        ...


class Tracing:
    """Makes the spans; `stop` sends what is left."""

    def __init__(self, processor: SpanProcessor, *, version: str) -> None:
        named = "OTEL_SERVICE_NAME" in os.environ or SERVICE_NAME in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        self._provider = TracerProvider(resource=Resource.create({} if named else {SERVICE_NAME: SERVICE}))
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("spendgate", version)

    @classmethod
    def over_otlp(cls, *, version: str) -> "Tracing":
        """Return one that sends spans in batches from a thread of its own, where OTEL_... variables say."""
        return cls(BatchSpanProcessor(OTLPSpanExporter()), version=version)

    def stop(self) -> None:
        """Send what is left; waits a few seconds at most."""
        self._provider.shutdown()

    def around(self, path: str, handler: Handler) -> Handler:
        """Return a handler with a span around each call, a child of the caller's (`traceparent`)."""

        async def traced(request: Any) -> Any:
            parent = propagate.extract(request.headers)
            with self._tracer.start_as_current_span(
                f"{request.method} {path}",
                context=parent,
                kind=SpanKind.SERVER,
                attributes={"http.request.method": request.method, "http.route": path},
            ):
                return await handler(request)

        return traced

    def lane(self, lane: Submits, name: str) -> "TracedLane":
        """Return a lane with a span around each operation's wait for the store."""
        return TracedLane(lane, self._tracer, name)

    def decided(self, decision: Decision, _seconds: float) -> None:
        """Say in the call's span what was decided; in a batch, an event for each."""
        trace.get_current_span().add_event(
            "spendgate.decision",
            {
                "spendgate.operation": decision.operation,
                "spendgate.decision": decision.outcome,
                "spendgate.reason": decision.reason,
                "spendgate.degraded": decision.degraded,
                "spendgate.replayed": decision.replayed,
                "spendgate.request_id": decision.request_id,
                "spendgate.rules_revision": decision.rules_revision,
            },
        )

    def settled(self, settlement: Settlement) -> None:
        """Say in the call's span what was settled."""
        trace.get_current_span().add_event(
            "spendgate.settlement",
            {
                "spendgate.operation": settlement.operation,
                "spendgate.state_before": settlement.state_before,
                "spendgate.request_id": settlement.request_id,
            },
        )


class TracedLane:
    """A lane whose operations have a span from their queueing to the store's answer."""

    def __init__(self, lane: Submits, tracer: trace.Tracer, name: str) -> None:
        self._lane = lane
        self._tracer = tracer
        self._name = name

    def __getattr__(self, name: str) -> Any:
        """Pass on what is not about operations."""
        return getattr(self._lane, name)

    def submit(self, operation: Any) -> "Future[Any]":
        """Queue an operation; what the call is about stands in its own span as well."""
        span = self._start_span(operation)

        def end(answer: "Future[Any]") -> None:
            _end_span(span, failed=answer.cancelled() or answer.exception() is not None)

        try:
            answer = self._lane.submit(operation)
        except Exception:
            _end_span(span, failed=True)
            raise
        answer.add_done_callback(end)
        return answer

    def ask(self, operation: Any, tell: Callable[[Any], None]) -> None:
        """Queue an operation whose answer is told, in the context of whoever asks."""
        span, asked_in = self._start_span(operation), copy_context()

        def end(answer: Any) -> None:
            _end_span(span, failed=isinstance(answer, StoreError))
            asked_in.run(tell, answer)

        try:
            self._lane.ask(operation, end)
        except Exception:
            _end_span(span, failed=True)
            raise

    def _start_span(self, operation: Any) -> trace.Span:
        attributes = _model_of(operation)
        trace.get_current_span().set_attributes(attributes)
        return self._tracer.start_span(
            f"spendgate {self._name}",
            context=context.get_current(),
            kind=SpanKind.CLIENT,
            attributes={"db.system.name": "redis", "db.operation.name": self._name, **attributes},
        )


def _end_span(span: trace.Span, *, failed: bool) -> None:
    if failed:
        span.set_status(StatusCode.ERROR)
    span.end()


def _model_of(operation: Any) -> dict[str, Any]:
    """Return the attributes of a call to a model, where they are known."""
    attributes: dict[str, Any] = {}
    if operation.model:
        attributes["gen_ai.request.model"] = operation.model
    if operation.input_tokens or operation.output_tokens:
        attributes["gen_ai.usage.input_tokens"] = operation.input_tokens
        attributes["gen_ai.usage.output_tokens"] = operation.output_tokens
    return attributes
