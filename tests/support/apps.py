"""Apps that ask sidecars: calls in this process, and whole processes that ask on their own.

Run as a program it is such an app: it prints ``ready``, reads one line of JSON (a list of calls, each a URL and a
body), makes the calls, some at a time, and prints the answers as one line.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from tests.support.processes import ROOT

AT_A_TIME: Final = 32
ANSWER_DEADLINE_S: Final = 60.0

Body = Mapping[str, Any]
Call = tuple[str, Body]


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and the decoded document."""

    status: int
    document: dict[str, Any]

    @property
    def is_exact(self) -> bool:
        """Say whether the ledger itself answered, not a failure policy or a problem."""
        return self.status == 200 and not self.document["degraded"]


async def ask(session: aiohttp.ClientSession, url: str, body: Body) -> Answer:
    """POST JSON once."""
    async with session.post(url, json=body) as response:
        return Answer(response.status, await response.json(content_type=None))


async def ask_all(session: aiohttp.ClientSession, calls: Sequence[Call], *, at_a_time: int = AT_A_TIME) -> list[Answer]:
    """POST every call once, some at a time; the answers come in the order of the calls."""
    pending = iter(enumerate(calls))
    answers: dict[int, Answer] = {}

    async def work() -> None:
        for position, (url, body) in pending:
            answers[position] = await ask(session, url, body)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_a_time):
            group.create_task(work())
    return [answers[position] for position in range(len(calls))]


def open_session() -> aiohttp.ClientSession:
    """Return a session without a bound of its own on connections; nothing waits for ever."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=ANSWER_DEADLINE_S)
    )


def ask_from_processes(shares: Iterable[Sequence[Call]]) -> list[list[Answer]]:
    """Let one process make the calls of each share, all at the same time; returns each one's answers."""
    with contextlib.ExitStack() as stack:
        apps = [(stack.enter_context(_app()), share) for share in shares]
        for app, _ in apps:
            if app.stdout is None or app.stdout.readline() != "ready\n":
                raise RuntimeError("an app did not start")
        for app, share in apps:
            if app.stdin is not None:
                app.stdin.write(json.dumps(share) + "\n")
                app.stdin.flush()
        return [_answers(app) for app, _ in apps]


@contextlib.contextmanager
def _app() -> Any:
    command = [sys.executable, "-m", "tests.support.apps"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _answers(app: "subprocess.Popen[str]") -> list[Answer]:
    output, _ = app.communicate(timeout=ANSWER_DEADLINE_S)
    return [Answer(status, document) for status, document in json.loads(output)]


async def _main() -> None:
    _say("ready")
    calls = json.loads(sys.stdin.readline())
    async with open_session() as session:
        answers = await ask_all(session, calls)
    _say(json.dumps([[answer.status, answer.document] for answer in answers]))


def _say(line: str) -> None:
    # A buffer of its own: without one (PYTHONUNBUFFERED) what a pipe does not take in one go would be lost.
    with open(sys.stdout.fileno(), "w", encoding="utf-8", closefd=False) as output:
        output.write(f"{line}\n")


if __name__ == "__main__":
    asyncio.run(_main())
