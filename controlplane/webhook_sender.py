"""Sends one message to a webhook, and says what became of it. No redirect is followed, no answer is read."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import aiohttp

from controlplane.webhook_file import Webhook
from controlplane.webhook_notes import Note, body_of, headers_of, message_id

TIMEOUT_S: Final = 10.0
MAX_RETRY_AFTER_S: Final = 60.0
OK: Final = range(200, 300)
LATER: Final = frozenset({408, 425, 429})
SERVER_ERROR: Final = 500


class Result(StrEnum):
    """Delivered; refused for good; failed for now; given up after too many failures."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    FAILED = "failed"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one attempt came to. `reason` says why it is no delivery, `wait_s` how long to wait at least."""

    result: Result
    reason: str = ""
    wait_s: float = 0.0


class WebhookSender:
    """Sends over one pool of connections; close it at the end."""

    def __init__(self, workspace: str) -> None:
        self._workspace = workspace
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), cookie_jar=aiohttp.DummyCookieJar(), trust_env=True
        )

    async def send(self, webhook: Webhook, notes: Sequence[Note]) -> Attempt:
        """Send notes as one message."""
        body = body_of(notes, webhook, self._workspace)
        headers = headers_of(body, webhook, identity=message_id(notes), at_s=int(time.time()))
        try:
            async with self._session.post(webhook.url, data=body, headers=headers, allow_redirects=False) as response:
                return _attempt(response)
        except TimeoutError:
            return Attempt(Result.FAILED, f"no answer within {TIMEOUT_S:.0f} s")
        except aiohttp.ClientConnectorError as error:
            return Attempt(Result.FAILED, f"cannot connect to {webhook.host}: {error.os_error.strerror}"[:200])
        except (aiohttp.ClientError, OSError) as error:
            return Attempt(Result.FAILED, f"{type(error).__name__}: {error}"[:200])

    async def aclose(self) -> None:
        """Close the connections."""
        await self._session.close()


def _attempt(response: aiohttp.ClientResponse) -> Attempt:
    status = response.status
    if status in OK:
        return Attempt(Result.DELIVERED)
    reason = f"the receiver answered {status}"
    if status in LATER or status >= SERVER_ERROR:
        return Attempt(Result.FAILED, reason, _retry_after_s(response.headers.get("Retry-After", "")))
    return Attempt(Result.REFUSED, reason)


def _retry_after_s(text: str) -> float:
    """Return the seconds that a receiver asks for; a date, which it may send as well, is not worth a clock."""
    return min(float(text), MAX_RETRY_AFTER_S) if text.isdecimal() else 0.0
