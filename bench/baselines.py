"""The servers that the sidecar is measured beside, each a whole process on one port.

``python -m bench.baselines noop PORT``: an aiohttp handler that reads the JSON and answers a decision made beforehand.
``python -m bench.baselines pool PORT REDIS_URL``: one call of a program a request through redis-py's default
pool, with the sidecar's own program, plan and wire format.
``python -m bench.baselines limits PORT REDIS_URL``: a rate limit of the package `limits`, a fixed window a user in its
Redis storage, and an answer made beforehand. It counts calls, neither money nor ids: the least a limiter can do.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import redis.asyncio as redis
import uvloop
import yaml
from aiohttp import web

from ledger.decisions import Budget, Decision, Operation, Outcome, Reason
from ledger.operations import Admission, sent_text
from ledger.plans import Plan, compile_plan
from ledger.redis_ledger import RedisLedger
from ledger.rule_parsing import parse_rule_set
from sidecar.api.decode import decode_request
from sidecar.api.encode import encode_decision
from sidecar.requests import AdmitRequest

RULES = Path(__file__).parent / "budgets.yaml"
WORKSPACE = "pool"


def bench_plan() -> Plan:
    """Return the plan of the benchmark's one tier, as of now."""
    rule_set = parse_rule_set(yaml.safe_load(RULES.read_text()), revision=1)
    return compile_plan(rule_set, "user-1", "pro", int(time.time() * 1000))


def made_answer() -> dict[str, Any]:
    """Return the fields of one decision, for those who do not decide."""
    plan = bench_plan()
    budget = Budget(plan.budgets[0].terms, Outcome.ALLOW, 1_250_000, 0, None, seeded=False)
    decision = Decision(
        Operation.CHECK, "0123456789abcdef-1", "user-1", "pro", Outcome.ALLOW, Reason.UNDER_LIMIT, (budget,), 0, 1, 0
    )
    return encode_decision(decision)


def noop_handler() -> web.RouteDef:
    """Return the handler that parses a request and serializes the same decision each time."""
    fields = made_answer()

    async def handle(request: web.Request) -> web.Response:
        orjson.loads(await request.read())
        return web.Response(body=orjson.dumps(fields), content_type="application/json")

    return web.post("/v1/check", handle)


def pool_handler(redis_url: str) -> web.RouteDef:
    """Return the handler that makes every decision with a command of its own, as redis-py does it out of the box."""
    ledger = RedisLedger(redis.Redis.from_url(redis_url), workspace=WORKSPACE)
    plan = bench_plan()

    async def handle(request: web.Request) -> web.Response:
        check = decode_request(Operation.CHECK, orjson.loads(await request.read()))
        assert isinstance(check, AdmitRequest)
        admission = Admission(
            operation=Operation.CHECK,
            plan=plan,
            request_id=check.request_id or "",
            user_id=check.user_id,
            amount_nanos=check.amount_nanos or 0,
            sent=sent_text(Operation.CHECK, check.tier, str(check.amount_nanos), 0),
            not_after_ms=plan.valid_until_ms,
        )
        (decision,) = await ledger.admit([admission])
        assert isinstance(decision, Decision), decision
        return web.Response(body=orjson.dumps(encode_decision(decision)), content_type="application/json")

    return web.post("/v1/check", handle)


def limits_handler(redis_url: str) -> web.RouteDef:
    """Return the handler that asks the package `limits` for each request, as its documentation shows it."""
    from limits import RateLimitItemPerDay  # noqa: PLC0415 - only the environment of the benchmarks has it
    from limits.aio.storage import RedisStorage  # noqa: PLC0415
    from limits.aio.strategies import FixedWindowRateLimiter  # noqa: PLC0415

    limiter = FixedWindowRateLimiter(RedisStorage(f"async+{redis_url}", implementation="redispy"))
    item, fields = RateLimitItemPerDay(1_000_000_000), made_answer()

    async def handle(request: web.Request) -> web.Response:
        check = orjson.loads(await request.read())
        if not await limiter.hit(item, check["user_id"]):
            raise web.HTTPTooManyRequests
        return web.Response(body=orjson.dumps(fields), content_type="application/json")

    return web.post("/v1/check", handle)


HANDLERS: dict[str, Callable[..., web.RouteDef]] = {
    "noop": noop_handler,
    "pool": pool_handler,
    "limits": limits_handler,
}


async def serve(port: int, route: web.RouteDef) -> None:
    """Serve one route until killed."""
    app = web.Application()
    app.add_routes([route])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print("serving", flush=True)
    await asyncio.Event().wait()


def main(kind: str, port: str, *rest: str) -> None:
    """Run one of the servers."""
    uvloop.run(serve(int(port), HANDLERS[kind](*rest)))


if __name__ == "__main__":
    main(*sys.argv[1:])
