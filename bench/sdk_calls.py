"""The calls that ``bench.sdk_overhead`` times, in a process with the packages of the providers; prints JSON.

Bare and guarded calls alternate, so that both see the same machine. Microseconds.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

from openai import AsyncOpenAI, OpenAI
from spendgate import AsyncSpendgate, Spendgate
from spendgate.providers import wrap

WARM_UP = 50
MESSAGES = [{"role": "user", "content": "Why?"}]
KEY = "not-a-key"


def summary(times_ns: list[int]) -> dict[str, float]:
    """Return median and 99th percentile."""
    in_order = sorted(times_ns)
    return {"p50_us": statistics.median(in_order) / 1000, "p99_us": in_order[len(in_order) * 99 // 100] / 1000}


def alternate(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, float]]:
    """Time blocking calls in turn."""
    times: dict[str, list[int]] = {name: [] for name in calls}
    for number in range(WARM_UP + rounds):
        for name, call in calls.items():
            started = time.perf_counter_ns()
            call()
            if number >= WARM_UP:
                times[name].append(time.perf_counter_ns() - started)
    return {name: summary(series) for name, series in times.items()}


async def alternate_awaiting(
    calls: dict[str, Callable[[], Awaitable[object]]], rounds: int
) -> dict[str, dict[str, float]]:
    """Time awaited calls in turn."""
    times: dict[str, list[int]] = {name: [] for name in calls}
    for number in range(WARM_UP + rounds):
        for name, call in calls.items():
            started = time.perf_counter_ns()
            await call()
            if number >= WARM_UP:
                times[name].append(time.perf_counter_ns() - started)
    return {name: summary(series) for name, series in times.items()}


def blocking(url: str, socket_url: str, provider_url: str, rounds: int) -> dict[str, dict[str, float]]:
    """Time holds around nothing, over both kinds of sockets, and calls of a wrapped client."""
    with (
        Spendgate(url, tier="bench", timeout_s=5) as gate,
        Spendgate(socket_url, tier="bench", timeout_s=5) as unix,
        Spendgate(url, tier="bench", timeout_s=5, transport="stream") as stream,
    ):
        client = OpenAI(api_key=KEY, base_url=provider_url)

        def held(gate: Spendgate) -> None:
            with gate.hold("user-1", estimate_usd="0.01") as hold:
                hold.settle(cost_usd="0.005")

        def ask(client: OpenAI) -> object:
            return client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, max_tokens=10)  # type: ignore[arg-type]

        wrapped = wrap(client, gate, user_id="user-2")
        over_socket = wrap(client, unix, user_id="user-2")
        return alternate(
            {
                "hold and settle, TCP": lambda: held(gate),
                "hold and settle, Unix socket": lambda: held(unix),
                "hold and settle, stream": lambda: held(stream),
                "openai, bare": lambda: ask(client),
                "openai, wrapped": lambda: ask(wrapped),
                "openai, wrapped, Unix socket": lambda: ask(over_socket),
            },
            rounds,
        )


async def awaiting(url: str, provider_url: str, rounds: int) -> dict[str, dict[str, float]]:
    """Time the same with the awaiting clients."""
    async with (
        AsyncSpendgate(url, tier="bench", timeout_s=5) as gate,
        AsyncSpendgate(url, tier="bench", timeout_s=5, transport="stream") as stream,
    ):
        client = AsyncOpenAI(api_key=KEY, base_url=provider_url)

        async def held(gate: AsyncSpendgate) -> None:
            async with gate.hold("user-3", estimate_usd="0.01") as hold:
                await hold.settle(cost_usd="0.005")

        async def ask(client: AsyncOpenAI) -> object:
            return await client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, max_tokens=10)  # type: ignore[arg-type]

        wrapped = wrap(client, gate, user_id="user-4")
        return await alternate_awaiting(
            {
                "hold and settle, asyncio": lambda: held(gate),
                "hold and settle, asyncio, stream": lambda: held(stream),
                "openai, asyncio, bare": lambda: ask(client),
                "openai, asyncio, wrapped": lambda: ask(wrapped),
            },
            rounds,
        )


if __name__ == "__main__":
    URL, SOCKET_URL, PROVIDER_URL, ROUNDS = sys.argv[1:]
    found = blocking(URL, SOCKET_URL, PROVIDER_URL, int(ROUNDS))
    found |= asyncio.run(awaiting(URL, PROVIDER_URL, int(ROUNDS)))
    print(json.dumps(found))
