"""Questions to a running sidecar over HTTP."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import aiohttp

from cli.failure import CommandFailed

TIMEOUT_S: Final = 10.0
STATUS_OK: Final = 200


def request_headers() -> dict[str, str]:
    """Return the headers of a request: the token that the sidecar's own variables hold, if they hold one.

    Raises `CommandFailed` when the token's file cannot be read.
    """
    token = os.environ.get("SPENDGATE_DECISION_TOKEN", "")
    file = os.environ.get("SPENDGATE_DECISION_TOKEN_FILE", "")
    if file and not token:
        try:
            token = Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise CommandFailed(f"SPENDGATE_DECISION_TOKEN_FILE cannot be read: {error}") from error
    return {"Authorization": f"Bearer {token}"} if token else {}


def get_json(url: str, path: str, query: Mapping[str, str]) -> dict[str, object]:
    """Return the JSON object that a sidecar answers. Raises `CommandFailed` when it gives none."""
    try:
        return asyncio.run(_get_json(f"{url.rstrip('/')}{path}", query))
    except TimeoutError:
        raise CommandFailed(f"{url} gave no answer within {TIMEOUT_S:.0f} s") from None
    except (aiohttp.ClientError, ValueError) as error:
        raise CommandFailed(f"no sidecar answers at {url} ({error}): start one with `spendgate up`") from error


async def _get_json(url: str, query: Mapping[str, str]) -> dict[str, object]:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with (
        aiohttp.ClientSession(timeout=timeout, headers=request_headers()) as session,
        session.get(url, params=query) as response,
    ):
        answer = await response.json(content_type=None)
        if response.status != STATUS_OK or not isinstance(answer, dict):
            raise CommandFailed(f"the sidecar answered {response.status}: {_detail(answer)}")
        return answer


def _detail(answer: object) -> str:
    if not isinstance(answer, dict):
        return "no problem document"
    return str(answer.get("detail") or answer.get("title") or answer.get("code"))


def entries(answer: Mapping[str, object], name: str) -> list[dict[str, object]]:
    """Return the objects of a list in an answer; an answer without that list has none."""
    found = answer.get(name)
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
