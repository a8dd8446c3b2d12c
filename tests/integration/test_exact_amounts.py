"""Amounts from a billionth of a dollar to the cap: exact through HTTP, Lua and back, in every format."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import aiohttp
import msgpack
import pytest
import redis

from tests.support.apps import Answer, ask, open_session
from tests.support.books import every_window, new_workspace, read_books
from tests.support.processes import running_sidecar, template, write_rules

EXACT_AMOUNTS: Final = {
    "0.000000001": 1,
    "0.1": 100_000_000,
    "99999.999999999": 99_999_999_999_999,
    "100000": 100_000_000_000_000,
    "7999999.999999999": 7_999_999_999_999_999,
    "8000000": 8_000_000_000_000_000,
}
BEYOND_THE_CAP: Final = "8000000.000000001"
CAP_NANOS: Final = 8_000_000_000_000_000
MSGPACK: Final = "application/msgpack"
JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Gate:
    """A running sidecar in a workspace of its own, and the store behind it."""

    url: str
    store_url: str
    workspace: str

    async def stored(self, user_id: str) -> set[bytes | None]:
        """Return what the texts of a user's counters hold as spend: the bytes as they are."""
        pattern = f"sg:{self.workspace}:*counter:*:{user_id}"
        with redis.Redis(unix_socket_path=self.store_url.removeprefix("unix://")) as client:
            return {client.get(key).split(b" ")[0] for key in client.scan_iter(match=pattern, count=1000)}  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def gate(store_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """Run a sidecar whose rules let everything up to the cap pass."""
    directory, workspace = tmp_path_factory.mktemp("exact"), new_workspace()
    rules = write_rules(directory / "rules.yaml", template("free", 8_000_000, alert_thresholds_pct=[]))
    with running_sidecar(
        directory,
        store_url,
        rules,
        workspace=workspace,
    ) as sidecar:
        yield Gate(sidecar.url, store_url, workspace)


def _json_number(user_id: str, amount: str) -> tuple[str, bytes]:
    """Write the amount as the digits of a JSON number."""
    return JSON, f'{{"user_id": "{user_id}", "tier": "free", "cost_usd": {amount}}}'.encode()


def _json_string(user_id: str, amount: str) -> tuple[str, bytes]:
    return JSON, json.dumps({"user_id": user_id, "tier": "free", "cost_usd": amount}).encode()


def _packed_float(user_id: str, amount: str) -> tuple[str, bytes]:
    return MSGPACK, msgpack.packb({"user_id": user_id, "tier": "free", "cost_usd": float(amount)})


def _packed_string(user_id: str, amount: str) -> tuple[str, bytes]:
    return MSGPACK, msgpack.packb({"user_id": user_id, "tier": "free", "cost_usd": amount})


Writer = Callable[[str, str], tuple[str, bytes]]
WRITERS: Final = (_json_number, _json_string, _packed_float, _packed_string)


async def _check(session: aiohttp.ClientSession, gate: Gate, content_type: str, body: bytes) -> tuple[int, Any, bytes]:
    """Return status, document (JSON numbers as decimals of their digits) and the bytes of the answer."""
    headers = {"Content-Type": content_type}
    async with session.post(f"{gate.url}/v1/check", data=body, headers=headers) as response:
        raw = await response.read()
        if response.content_type == MSGPACK:
            return response.status, msgpack.unpackb(raw), raw
        return response.status, json.loads(raw, parse_float=Decimal), raw


def _nanos(amount: object) -> int:
    """Read an answered amount as any client would: by the shortest digits of its number."""
    return int(Decimal(str(amount)).scaleb(9))


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("amount", EXACT_AMOUNTS)
async def test_an_amount_comes_back_exactly(gate: Gate, writer: Writer, amount: str) -> None:
    """What was sent is answered as spend, and left as remaining; catches floats and Lua's 14 digits on the way."""
    user_id, nanos = f"user-{uuid4().hex}", EXACT_AMOUNTS[amount]
    async with open_session() as session:
        status, document, _ = await _check(session, gate, *writer(user_id, amount))

    answered = (status, _nanos(document["spend_usd"]), _nanos(document["remaining_usd"]))
    assert (200, nanos, CAP_NANOS - nanos) == answered


@pytest.mark.parametrize("amount", EXACT_AMOUNTS)
async def test_an_amount_is_stored_exactly(gate: Gate, amount: str) -> None:
    """The hashes hold the nano-USD as plain digits; catches "1e+14" and amounts rounded by cjson or tostring."""
    user_id = f"user-{uuid4().hex}"
    async with open_session() as session:
        await _check(session, gate, *_json_number(user_id, amount))

    assert {str(EXACT_AMOUNTS[amount]).encode()} == await gate.stored(user_id)


async def test_one_nano_more_than_a_large_spend_is_counted(gate: Gate) -> None:
    """The last nano below the cap fits and is told apart; catches sums in floats of dollars."""
    user_id = f"user-{uuid4().hex}"
    async with open_session() as session:
        await _check(session, gate, *_json_number(user_id, "7999999.999999999"))
        _, document, _ = await _check(session, gate, *_json_number(user_id, "0.000000001"))
        _, blocked, _ = await _check(session, gate, *_json_number(user_id, "0"))

    assert (Decimal("8000000.0"), Decimal("0.0")) == (document["spend_usd"], document["remaining_usd"])
    assert "block" == blocked["decision"]


@pytest.mark.parametrize("writer", [_json_string, _packed_string])
async def test_the_next_nano_beyond_the_cap_is_refused(gate: Gate, writer: Writer) -> None:
    """Beyond the cap is a 400 that names the field, nothing written; catches a cap compared after rounding."""
    user_id = f"user-{uuid4().hex}"
    async with open_session() as session:
        status, document, _ = await _check(session, gate, *writer(user_id, BEYOND_THE_CAP))

    assert (400, "invalid_field", "cost_usd") == (status, document["code"], document["field"])
    assert set() == await gate.stored(user_id)


@pytest.mark.parametrize("amount", ["8000000.000000001", "8000000.000000002", "8000000.01", "8000001"])
async def test_a_json_number_beyond_the_cap_is_refused(gate: Gate, amount: str) -> None:
    """A number beyond the cap is a 400 that names the field; catches a number that is cut to the cap in silence."""
    user_id = f"user-{uuid4().hex}"
    async with open_session() as session:
        status, document, _ = await _check(session, gate, *_json_number(user_id, amount))

    assert (400, "cost_usd") == (status, document["field"])
    assert set() == await gate.stored(user_id)


async def _settle_all(gate: Gate, user_id: str, costs_usd: list[str]) -> list[Answer]:
    """Reserve for all calls, then settle each: beyond the cap no further reserve would be admitted."""
    calls = [({"request_id": uuid4().hex, "user_id": user_id}, cost_usd) for cost_usd in costs_usd]
    async with open_session() as session:
        for body, _ in calls:
            await ask(session, f"{gate.url}/v1/reserve", {**body, "tier": "whale", "estimate_usd": 0})
        return [await ask(session, f"{gate.url}/v1/settle", {**body, "cost_usd": cost}) for body, cost in calls]


async def test_settles_beyond_the_exact_doubles_are_stored_exactly(gate: Gate) -> None:
    """Three settles at the cap's edge pass 2^53 nano-USD; catches a counter that is added up in Lua's doubles."""
    user_id, total = f"user-{uuid4().hex}", 3 * 7_999_999_999_999_999
    settled = await _settle_all(gate, user_id, ["7999999.999999999"] * 3)

    assert ([200, 200, 200], True) == ([answer.status for answer in settled], total > 2**53)
    assert {str(total).encode()} == await gate.stored(user_id)


async def test_an_amount_beyond_the_cap_goes_out_as_a_string(gate: Gate) -> None:
    """What no JSON number can say exactly is a decimal string; catches a float that lost its last digits."""
    user_id = f"user-{uuid4().hex}"
    await _settle_all(gate, user_id, ["7999999.999999999"] * 2)
    async with open_session() as session, session.get(f"{gate.url}/v1/usage/{user_id}") as response:
        usage = await response.json()

    assert ["15999999.999999998"] * 3 == [window["spend_usd"] for window in usage["windows"]]


async def test_a_counter_is_never_pushed_beyond_the_cap_by_a_check(gate: Gate) -> None:
    """A check that would pass the cap is a 422 and changes nothing; catches an overflow judged in rounded numbers."""
    user_id = f"user-{uuid4().hex}"
    body = {"user_id": user_id, "tier": "whale"}
    async with open_session() as session:
        await ask(session, f"{gate.url}/v1/check", {**body, "cost_usd": "7999999.999999999"})
        refused = await ask(session, f"{gate.url}/v1/check", {**body, "cost_usd": "0.000000002"})
        passed = await ask(session, f"{gate.url}/v1/check", {**body, "cost_usd": "0.000000001"})

    assert (422, "counter_overflow", 200) == (refused.status, refused.document["code"], passed.status)
    assert {str(CAP_NANOS).encode()} == await gate.stored(user_id)


async def test_the_audit_adds_up_to_the_nano(store_url: str, tmp_path: Path) -> None:
    """Totals over users are summed beyond 2^53 without a loss; catches tier totals that are kept in doubles."""
    workspace = new_workspace()
    rules = write_rules(tmp_path / "rules.yaml", template("free", None))
    with running_sidecar(tmp_path, store_url, rules, workspace=workspace) as sidecar:
        gate = Gate(sidecar.url, store_url, workspace)
        async with open_session() as session:
            for number in range(4):
                await _check(session, gate, *_json_string(f"user-{number}", "7999999.999999999"))
    books = await read_books(store_url, workspace)

    assert (4 * 7_999_999_999_999_999, []) == (books.report.charged_nanos, books.report.differences)
    assert every_window(4 * 7_999_999_999_999_999) == books.tier_spend("free")
