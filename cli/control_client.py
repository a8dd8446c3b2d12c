"""Calls to a running control plane over HTTP."""

import argparse
import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson

from cli.failure import CommandFailed

DEFAULT_CONTROL_URL: Final = "http://127.0.0.1:8788"
TIMEOUT_S: Final = 120.0
"""A rule file of a million rules takes a while to put in force."""

TOKENS: Final = ("SPENDGATE_WRITE_TOKEN", "SPENDGATE_PUSH_TOKEN", "SPENDGATE_READ_TOKEN")
FIRST_ERROR: Final = 400


@dataclass(frozen=True, slots=True)
class ControlAnswer:
    """What a control plane answered."""

    status: int
    body: bytes

    @property
    def is_error(self) -> bool:
        """Say whether it is a problem."""
        return self.status >= FIRST_ERROR

    @property
    def document(self) -> dict[str, Any]:
        """The JSON object. Raises `CommandFailed` for anything else."""
        try:
            document = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            document = None
        if not isinstance(document, dict):
            raise CommandFailed(f"the answer ({self.status}) is no JSON object: is this a control plane?")
        return document

    @property
    def detail(self) -> str:
        """What a problem says."""
        document = self.document
        return f"{document.get('detail') or document.get('title')} ({document.get('code')})"


def add_control_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--control-url``, the control plane's address; default SPENDGATE_CONTROL_URL."""
    parser.add_argument(
        "--control-url",
        metavar="URL",
        default=os.environ.get("SPENDGATE_CONTROL_URL", DEFAULT_CONTROL_URL),
        help=f"the control plane's address [SPENDGATE_CONTROL_URL, default {DEFAULT_CONTROL_URL}]",
    )


def control_headers() -> dict[str, str]:
    """Return the token of the first variable that holds one, or names its file, and who runs the command.

    Raises `CommandFailed` when a token's file cannot be read.
    """
    headers = {"Accept": "application/json"}
    user = os.environ.get("SPENDGATE_ACTOR") or os.environ.get("USER")
    if user and user.isascii() and user.isprintable():
        headers["X-Spendgate-Actor"] = user[:64]
    for name in TOKENS:
        token = os.environ.get(name) or _from_file(f"{name}_FILE")
        if token:
            return {**headers, "Authorization": f"Bearer {token}"}
    return headers


def call_control(
    url: str,
    method: str,
    path: str,
    *,
    query: Mapping[str, str] | None = None,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> ControlAnswer:
    """Return what a control plane answers. Raises `CommandFailed` when none does."""
    sent = {**control_headers(), **(headers or {})}
    try:
        return asyncio.run(_call(method, f"{url.rstrip('/')}{path}", dict(query or {}), body, sent))
    except TimeoutError:
        raise CommandFailed(f"{url} gave no answer within {TIMEOUT_S:.0f} s") from None
    except (aiohttp.ClientError, ValueError, OSError) as error:
        raise CommandFailed(f"no control plane answers at {url} ({error}): start one with `spendgate up`") from error


async def _call(
    method: str, url: str, query: dict[str, str], body: bytes | None, headers: dict[str, str]
) -> ControlAnswer:
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), headers=headers) as session,
        session.request(method, url, params=query, data=body, allow_redirects=False) as response,
    ):
        return ControlAnswer(response.status, await response.read())


def _from_file(variable: str) -> str | None:
    path = os.environ.get(variable)
    if not path:
        return None
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise CommandFailed(f"{variable} cannot be read: {error}") from error
