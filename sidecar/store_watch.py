"""Makes the store known at start and after an outage: claims the partitions, warns of dangerous settings."""

import asyncio
import logging
from typing import Final

from ledger.connection import StoreTimeouts, claim_partitions, connect, store_warnings
from ledger.errors import StoreError
from sidecar.settings import Settings

RETRY_INTERVAL_S: Final = 1.0
TIMEOUTS: Final = StoreTimeouts(connect_ms=1000, command_ms=1000)
"""More patient than a decision: nobody waits for the greeting."""

log = logging.getLogger("spendgate.store")


async def greet_store(settings: Settings) -> bool:
    """Claim the partitions and log what is dangerous; False if the store does not answer.

    Raises `PartitionMismatch`: a sidecar that looks for users elsewhere must not serve.
    """
    client = connect(settings.redis_url, TIMEOUTS)
    try:
        await claim_partitions(client, settings.workspace, settings.partitions)
        for warning in await store_warnings(client):
            log.warning("%s", warning)
    except StoreError as error:
        log.debug("the store was not greeted: %s", error)
        return False
    finally:
        await client.aclose()
    return True


async def keep_greeting(settings: Settings) -> None:
    """Repeat until the store was greeted; for a sidecar that started without it."""
    while not await greet_store(settings):  # noqa: ASYNC110 - the store sends no event
        await asyncio.sleep(RETRY_INTERVAL_S)
    log.info("the store answers, and was greeted")
