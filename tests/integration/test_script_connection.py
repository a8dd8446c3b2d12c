"""One pipelined connection: a loss of it concerns those who wait on it, and nobody after them."""

import asyncio

import pytest
import redis.asyncio

from ledger.script_connection import ScriptConnection


async def until_sent(connection: ScriptConnection) -> None:
    """Turn the loop until a command waits for its reply."""
    async with asyncio.timeout(60):
        while connection._link is None or not connection._link._pending:  # noqa: ASYNC110 - nothing tells when a command has left
            await asyncio.sleep(0)


async def test_after_a_caller_that_gave_up_the_next_is_answered(valkey_url: str) -> None:
    """Its replies have a reader of their own, however the old one ends."""
    async with redis.asyncio.Redis.from_url(valkey_url) as client:
        connection = ScriptConnection(client)
        for number in range(50):
            waiting = asyncio.create_task(connection.execute_command("BLPOP", "nothing-is-ever-here", 0))
            await until_sent(connection)
            waiting.cancel()
            echo = await asyncio.wait_for(connection.execute_command("ECHO", str(number)), 60)
            assert str(number).encode() == echo
        await connection.aclose()


async def test_closing_leaves_no_task_behind(valkey_url: str) -> None:
    """The reader ends with the connection, and those who wait learn of it."""
    async with redis.asyncio.Redis.from_url(valkey_url) as client:
        connection = ScriptConnection(client)
        before = asyncio.all_tasks()
        waiting = asyncio.create_task(connection.execute_command("BLPOP", "nothing-is-ever-here", 0))
        await until_sent(connection)
        await connection.aclose()
        with pytest.raises(redis.exceptions.ConnectionError):
            await waiting
        assert before == asyncio.all_tasks()
