"""One call of a replay: reserve, then settle, over HTTP, with the retries an app would make."""

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from typing import Final

import aiohttp

from cli.call_amounts import CallAmounts
from cli.population import Caller
from cli.replay_report import ReplayReport
from cli.tally import Closest
from cli.trace import TraceCall
from ledger.money import parse_usd

MAX_ATTEMPTS: Final = 6
FIRST_PAUSE_S: Final = 0.02
STATUS_OK: Final = 200
STATUS_UNAVAILABLE: Final = 503


class CallFailed(Exception):
    """A call got no answer that could be used; the message says why, without what differs from call to call."""


class CallReplayer:
    """Makes the calls of a replay against one or more sidecars in turn, and books what they answer in `report`."""

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession,
        urls: Sequence[str],
        amounts: CallAmounts,
        report: ReplayReport,
    ) -> None:
        self._session = session
        self._urls = itertools.cycle(url.rstrip("/") for url in urls)
        self._amounts = amounts
        self._report = report

    async def make(self, request_id: str, caller: Caller, call: TraceCall) -> None:
        """Reserve the estimate of a call and, if that is allowed, settle its actual cost."""
        try:
            decision = await self._reserve(request_id, caller, call)
            if decision["allowed"]:
                await self._settle(request_id, caller, call, decision)
            self._report.tier(caller.tier).count(str(decision["decision"]))
        except CallFailed as failure:
            self._report.fail(tier=caller.tier, why=str(failure))
        except (KeyError, ValueError) as error:
            self._report.fail(tier=caller.tier, why=f"an answer that is no decision: {error!r}")

    async def _reserve(self, request_id: str, caller: Caller, call: TraceCall) -> Mapping[str, object]:
        who = {"request_id": request_id, "user_id": caller.user_id, "tier": caller.tier}
        return await self._post("reserve", caller, {**who, **self._amounts.reserve(request_id, call)})

    async def _settle(self, request_id: str, caller: Caller, call: TraceCall, decision: Mapping[str, object]) -> None:
        body: dict[str, object] = {
            "request_id": request_id,
            "user_id": caller.user_id,
            "tier": caller.tier,
            **self._amounts.settle(request_id, call),
        }
        if "reserved_at" in decision:  # A degraded answer has none: the store was not asked.
            body["reserved_at"] = decision["reserved_at"]
        settled = await self._post("settle", caller, body)
        cost_nanos = parse_usd(settled["cost_usd"], field="cost_usd")
        self._report.settle(tier=caller.tier, user_id=caller.user_id, cost_nanos=cost_nanos)

    async def _post(self, operation: str, caller: Caller, body: Mapping[str, object]) -> Mapping[str, object]:
        """Send an operation and repeat it under its request id while the sidecar is not there or says 503."""
        why = ""
        for attempt in range(MAX_ATTEMPTS):
            if attempt:
                await asyncio.sleep(FIRST_PAUSE_S * 2 ** (attempt - 1))
            try:
                async with self._session.post(f"{next(self._urls)}/v1/{operation}", json=body) as response:
                    answer = await response.json(content_type=None)
                    status = response.status
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                why = f"{operation}: {type(error).__name__}"
                continue
            if status == STATUS_OK and isinstance(answer, dict):
                self._report.tier(caller.tier).watch(Closest.of(answer))
                return answer
            why = f"{operation}: {status} {_code(answer)}"
            if status != STATUS_UNAVAILABLE:
                break
        raise CallFailed(why)


def _code(answer: object) -> str:
    """Return the stable code of a problem document, and the field it names."""
    if not isinstance(answer, dict):
        return "without a problem document"
    return " ".join(str(answer[name]) for name in ("code", "field") if answer.get(name))
