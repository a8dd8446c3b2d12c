"""One connection and its reader, over connections that behave badly on purpose."""

import asyncio
from types import SimpleNamespace
from typing import Any

from ledger.script_connection import ScriptConnection


class Deaf:
    """A connection that takes commands and never answers, not even when it is closed."""

    async def connect(self) -> None:
        """Connect at once."""

    async def send_packed_command(self, _packed: bytes, *, check_health: bool) -> None:
        """Take a command."""

    async def read_response(self, *, disconnect_on_error: bool) -> Any:
        """Wait for ever."""
        await asyncio.Event().wait()

    async def disconnect(self, *, nowait: bool) -> None:
        """Tell nobody."""


class Answering(Deaf):
    """A connection that answers."""

    async def read_response(self, *, disconnect_on_error: bool) -> Any:
        """Answer at once."""
        return b"answer"


async def test_the_next_connection_is_read_though_the_lost_ones_reader_lingers() -> None:
    """A reader that does not notice the loss must not be taken for the new connection's."""
    made = iter([Deaf(), Answering()])
    pool = SimpleNamespace(make_connection=lambda: next(made))
    connection = ScriptConnection(SimpleNamespace(connection_pool=pool))  # type: ignore[arg-type]
    waiting = asyncio.create_task(connection.execute_command("PING"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    async with asyncio.timeout(5):
        assert b"answer" == await connection.execute_command("PING")
    await connection.aclose()
