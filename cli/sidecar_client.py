"""Questions to a running sidecar over HTTP."""

import asyncio
import os
from collections.abc import Mapping
from typing import Final

import aiohttp

from cli.failure import CommandFailed

TIMEOUT_S: Final = 10.0
STATUS_OK: Final = 200


def request_headers() -> dict[str, str]:
    """Return the headers of a request: the token of SPENDGATE_TOKEN, if there is one."""
    token = os.environ.get("SPENDGATE_TOKEN", "")
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
