"""What a replay counts, sums and shows, and how it calls a sidecar."""

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from rich.console import Console

from cli.amounts import cents_text
from cli.call_amounts import TokenPrices
from cli.population import Population, TierShares
from cli.replay import ReplayPlan, replay
from cli.replay_report import ReplayReport
from cli.tally import Closest, Tally
from cli.trace import TraceError, generate_trace, trace_lines

PRICES = TokenPrices(input_nanos=2_500_000_000, output_nanos=10_000_000_000)
Answer = Callable[[str, dict[str, str], int], tuple[int, object]]


class FakeSidecar:
    """A sidecar that answers from a function of the operation, the body and how often this operation was sent."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.bodies: list[tuple[str, dict[str, str]]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one operation."""
        operation, body = request.match_info["operation"], await request.json()
        self.bodies.append((operation, body))
        attempt = sum(sent == (operation, body) for sent in self.bodies)
        status, document = self._answer(operation, body, attempt)
        if operation == "settle" and isinstance(document, dict) and "cost_usd" in body:
            document = {"cost_usd": body["cost_usd"], **document}
        return web.json_response(document, status=status)

    def sent(self, operation: str) -> list[dict[str, str]]:
        """Return the bodies of an operation in their order."""
        return [body for name, body in self.bodies if name == operation]


Start = Callable[[Answer], Awaitable[FakeSidecar]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Return a function that starts fake sidecars on 127.0.0.1; they end with the test."""
    runners: list[web.AppRunner] = []

    async def start_one(answer: Answer) -> FakeSidecar:
        fake = FakeSidecar(answer)
        app = web.Application()
        app.router.add_post("/v1/{operation}", fake.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return fake

    yield start_one
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Return a trace of 40 calls."""
    path = tmp_path / "trace.csv"
    path.write_text("".join(trace_lines(generate_trace(40, 5))))
    return path


def _plan(trace: Path, *urls: str, **changes: object) -> ReplayPlan:
    tiers = TierShares(names=("free", "pro"), weights=(0.5, 0.5))
    fields: dict[str, object] = {
        "trace": trace,
        "urls": urls,
        "population": Population(users=5, zipf=1.1, tiers=tiers, seed=1),
        "prices": PRICES,
        "max_output_tokens": 1024,
        "run_id": "run",
        "concurrency": 4,
    }
    return ReplayPlan(**(fields | changes))  # type: ignore[arg-type]


def _decide(decision: str) -> Answer:
    def answer(operation: str, body: dict[str, str], attempt: int) -> tuple[int, object]:
        return 200, {
            "decision": decision if operation == "reserve" else "allow",
            "allowed": decision != "block",
            "reserved_at": "2026-01-05T09:00:00Z",
            "user_id": body["user_id"],
            "limit_usd": None,
            "spend_usd": 0,
            "window": None,
        }

    return answer


def _failing(status: int, attempts: int, *, on: str = "reserve") -> Answer:
    """Return an answer that fails the first attempts of an operation."""

    def answer(operation: str, body: dict[str, str], attempt: int) -> tuple[int, object]:
        if operation == on and attempt <= attempts:
            return status, {"code": "overloaded", "field": None}
        return _decide("allow")(operation, body, attempt)

    return answer


async def _run(plan: ReplayPlan) -> ReplayReport:
    return await replay(plan, after_call=lambda: None)


def test_costs_are_rounded_up_in_nano_usd() -> None:
    """One token at a price below a nano-USD still costs one."""
    prices = TokenPrices(input_nanos=1, output_nanos=0)

    assert (0, 1, 1, 2) == tuple(prices.cost_nanos(tokens, 0) for tokens in (0, 1, 1_000_000, 1_000_001))


def test_costs_sum_both_kinds_of_tokens() -> None:
    """A thousand prompt tokens at $2.50 and a hundred generated ones at $10 a million cost $0.0035."""
    assert 3_500_000 == PRICES.cost_nanos(1_000, 100)


@pytest.mark.parametrize(
    ("decision", "counted"), [("allow", "allowed"), ("warn", "warned"), ("dry_run", "dry_run"), ("block", "blocked")]
)
async def test_decisions_are_counted(start: Start, trace: Path, decision: str, counted: str) -> None:
    """Every call is counted under the decision of its reserve."""
    sidecar = await start(_decide(decision))
    report = await _run(_plan(trace, sidecar.url))

    assert (40, 40) == (report.total.calls, getattr(report.total, counted))


async def test_a_blocked_call_is_not_settled(start: Start, trace: Path) -> None:
    """After a block nothing is settled, and nothing is summed."""
    sidecar = await start(_decide("block"))
    report = await _run(_plan(trace, sidecar.url))

    assert ([], 0) == (sidecar.sent("settle"), report.total.settled_nanos)


async def test_the_sidecar_may_price_the_tokens_of_models(start: Start, trace: Path) -> None:
    """Each call names a model, asks for tokens and tells those that were used; what it cost the sidecar says."""

    def answer(operation: str, _body: dict[str, str], _attempt: int) -> tuple[int, object]:
        return 200, {"decision": "allow", "allowed": True} if operation == "reserve" else {"cost_usd": 0.25}

    fake = await start(answer)
    plan = dataclasses.replace(_plan(trace, fake.url), prices=None, models=("a", "b"))
    report = await replay(plan, after_call=lambda: None)

    usages: list[Any] = [body["usage"] for body in fake.sent("reserve")]
    settled: list[Any] = [body["usage"] for body in fake.sent("settle")]
    assert {"a", "b"} == {usage["model"] for usage in usages}
    assert {"model", "input_tokens", "max_output_tokens"} == set(usages[0])
    assert {"model", "input_tokens", "output_tokens"} == set(settled[0])
    assert sorted(usage["model"] for usage in usages) == sorted(usage["model"] for usage in settled)
    assert 40 * 250_000_000 == report.total.settled_nanos


async def test_the_settled_sum_is_exact(start: Start, trace: Path) -> None:
    """The settled sum is the sum of the actual costs, to the nano-USD."""
    sidecar = await start(_decide("allow"))
    report = await _run(_plan(trace, sidecar.url))

    expected = sum(PRICES.cost_nanos(call.prompt_tokens, call.generated_tokens) for call in generate_trace(40, 5))
    assert expected == report.total.settled_nanos


async def test_the_reserve_is_the_estimate(start: Start, trace: Path) -> None:
    """A reserve asks for the prompt and the longest answer, as a decimal string."""
    sidecar = await start(_decide("allow"))
    await _run(_plan(trace, sidecar.url, limit=1))
    call = next(generate_trace(1, 5))

    body = sidecar.sent("reserve")[0]
    expected = f"{PRICES.cost_nanos(call.prompt_tokens, 1024) / 10**9:.9f}".rstrip("0")
    assert {"request_id": "run-1", "user_id": body["user_id"], "tier": body["tier"], "estimate_usd": expected} == body


async def test_the_settle_carries_what_the_reserve_answered(start: Start, trace: Path) -> None:
    """A settle names the reserve's id, user, tier and moment."""
    sidecar = await start(_decide("allow"))
    await _run(_plan(trace, sidecar.url, limit=1))
    reserve, settle = sidecar.sent("reserve")[0], sidecar.sent("settle")[0]

    expected = {name: reserve[name] for name in ("request_id", "user_id", "tier")}
    assert expected | {"reserved_at": "2026-01-05T09:00:00Z", "cost_usd": settle["cost_usd"]} == settle


async def test_sidecars_take_turns(start: Start, trace: Path) -> None:
    """Two sidecars get half of the requests each."""
    first, second = await start(_decide("allow")), await start(_decide("allow"))
    await _run(_plan(trace, first.url, second.url))

    assert (40, 40) == (len(first.bodies), len(second.bodies))


async def test_an_unavailable_sidecar_is_asked_again(start: Start, trace: Path) -> None:
    """A 503 is repeated under the same request id and then counts as what it became."""
    sidecar = await start(_failing(503, 2))
    report = await _run(_plan(trace, sidecar.url, limit=1))

    assert (1, 3) == (report.total.allowed, len(sidecar.sent("reserve")))


async def test_a_call_fails_after_five_repetitions(start: Start, trace: Path) -> None:
    """A sidecar that stays unavailable is asked six times in all, and the call is counted as failed."""
    sidecar = await start(_failing(503, 100))
    report = await _run(_plan(trace, sidecar.url, limit=1))

    assert (1, 6, {"reserve: 503 overloaded": 1}) == (
        report.total.failed,
        len(sidecar.sent("reserve")),
        dict(report.failures),
    )


async def test_a_refused_request_is_not_repeated(start: Start, trace: Path) -> None:
    """A 400 would be answered the same again: the call fails at once."""
    sidecar = await start(_failing(400, 100))
    report = await _run(_plan(trace, sidecar.url, limit=1))

    assert (1, 1) == (report.total.failed, len(sidecar.sent("reserve")))


async def test_a_failed_settle_fails_the_call(start: Start, trace: Path) -> None:
    """A call whose settle was not acknowledged counts as failed, and its cost is not summed."""
    sidecar = await start(_failing(409, 100, on="settle"))
    report = await _run(_plan(trace, sidecar.url, limit=1))

    assert (1, 1, 0) == (report.total.calls, report.total.failed, report.total.settled_nanos)


async def test_nobody_listening_fails_the_call(unused_tcp_port: int, trace: Path) -> None:
    """Without a sidecar every call fails with the reason."""
    report = await _run(_plan(trace, f"http://127.0.0.1:{unused_tcp_port}", limit=1))

    assert {"reserve: ClientConnectorError": 1} == dict(report.failures)


async def test_an_answer_without_decision_fails_the_call(start: Start, trace: Path) -> None:
    """A 200 from something that is no sidecar is a failure, not an allowed call."""
    sidecar = await start(lambda operation, body, attempt: (200, {"ok": True}))
    report = await _run(_plan(trace, sidecar.url, limit=1))

    assert (1, 1) == (report.total.calls, report.total.failed)


async def test_every_call_advances_the_progress(start: Start, trace: Path) -> None:
    """The progress is told of each finished call."""
    sidecar = await start(_decide("allow"))
    finished: list[None] = []
    await replay(_plan(trace, sidecar.url), after_call=lambda: finished.append(None))

    assert 40 == len(finished)


async def test_a_broken_trace_ends_the_replay(start: Start, trace: Path) -> None:
    """A line that is no call is raised as what it is."""
    sidecar = await start(_decide("allow"))
    with trace.open("a") as file:
        file.write("nonsense\n")

    with pytest.raises(TraceError, match=":42: "):
        await _run(_plan(trace, sidecar.url))


async def test_speed_follows_the_trace(start: Start, trace: Path) -> None:
    """At a hundred times its pace a trace takes a hundredth of its time."""
    sidecar = await start(_decide("allow"))
    report = await _run(_plan(trace, sidecar.url, speed=100.0))
    last = list(generate_trace(40, 5))[-1]

    assert report.elapsed_s >= last.arrival_s / 100


def _answer(user_id: str, spend: str, limit: str | None) -> dict[str, object]:
    return {"user_id": user_id, "spend_usd": spend, "limit_usd": limit, "window": "day"}


def test_the_closest_user_has_the_largest_share() -> None:
    """Not the largest spend counts but the largest share of the limit."""
    tally = Tally()
    for answer in (_answer("rich", "50", "100"), _answer("tight", "0.9", "1"), _answer("idle", "0", "1")):
        tally.watch(Closest.of(answer))

    assert "tight 90 % ($0.9000 of $1.00 a day)" == (tally.closest.text if tally.closest else "")


@pytest.mark.parametrize("limit", [None, "0"])
def test_without_a_limit_nobody_is_close(limit: str | None) -> None:
    """An unlimited budget and a limit of zero have no share."""
    assert Closest.of(_answer("user", "1", limit)) is None


def test_an_unknown_decision_is_refused() -> None:
    """A word that is no decision is not counted as anything."""
    with pytest.raises(ValueError, match="maybe"):
        Tally().count("maybe")


def _report() -> ReplayReport:
    report = ReplayReport(elapsed_s=2.0)
    report.settle(tier="pro", user_id="user-2", cost_nanos=1_500_000_001)
    report.tier("pro").count("warn")
    report.tier("free").count("block")
    report.tier("free").watch(Closest.of(_answer("user-1", "0.30", "0.30")))
    report.fail(tier="free", why="reserve: 400 invalid_field")
    return report


def test_the_total_sums_the_tiers() -> None:
    """The total has all calls, all money and the closest user of all tiers."""
    total = _report().total

    assert (3, 1, 1, 1, 1_500_000_001) == (total.calls, total.warned, total.blocked, total.failed, total.settled_nanos)


def test_the_document_has_exact_decimals() -> None:
    """JSON carries the settled sum as a decimal string to the nano-USD."""
    assert "1.500000001" == _report().document(with_users=False)["settled_usd"]


def test_users_are_listed_on_request_only() -> None:
    """Per-user sums appear only when asked for."""
    report = _report()

    assert (None, {"user-2": "1.500000001"}) == (
        report.document(with_users=False).get("users"),
        report.document(with_users=True)["users"],
    )


def test_the_table_has_a_row_a_tier_and_a_sum() -> None:
    """The table lists the tiers by name and ends with the sum."""
    console = Console(file=StringIO(), width=120)
    console.print(_report().table())
    rows = [line for line in console.file.getvalue().splitlines() if any(c.isdigit() for c in line)]  # type: ignore[attr-defined]

    assert ["free", "pro", "all"] == [row.strip("│┃ ").split()[0] for row in rows]


def test_the_lines_name_the_failures() -> None:
    """Below the table stands why calls failed, and how often."""
    assert "Failed 1 times: reserve: 400 invalid_field" == _report().lines()[-1]


@pytest.mark.parametrize(
    ("nanos", "expected"),
    [
        (0, "0.0000"),
        (123_456_789, "0.1235"),
        (1_234_567_890_000, "1,234.57"),
        (-1_005_000_000, "-1.01"),
        (-1, "0.0000"),
    ],
)
def test_shown_amounts_are_rounded(nanos: int, expected: str) -> None:
    """The table rounds half up: four decimals below a dollar, cents above."""
    assert expected == cents_text(nanos)
