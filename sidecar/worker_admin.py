"""What the supervisor asks its workers for the admin listener: readiness and metrics, over their private sockets."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Final

import aiohttp

ANSWER_DEADLINE_S: Final = 1.0
OK: Final = 200


class WorkerAdmin:
    """Asks the admin sockets of the workers, by number; one that does not answer, as while it starts, is left out."""

    def __init__(self, sockets: Mapping[int, str]) -> None:
        timeout = aiohttp.ClientTimeout(total=ANSWER_DEADLINE_S)
        self._sessions = {
            number: aiohttp.ClientSession(connector=aiohttp.UnixConnector(path), timeout=timeout)
            for number, path in sockets.items()
        }

    async def aclose(self) -> None:
        """Close the connections."""
        for session in self._sessions.values():
            await session.close()

    async def ask(self, path: str) -> dict[int, tuple[int, bytes]]:
        """GET a path of every worker at once; returns status and body by worker."""
        numbers = list(self._sessions)
        answers = await asyncio.gather(*[self._ask(number, path) for number in numbers])
        return {number: answer for number, answer in zip(numbers, answers, strict=True) if answer is not None}

    async def _ask(self, number: int, path: str) -> tuple[int, bytes] | None:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with self._sessions[number].get(f"http://worker{path}") as response:
                return response.status, await response.read()
        return None
