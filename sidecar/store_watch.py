"""Makes the store known at start and after an outage: claims the partitions, warns of dangerous settings."""

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from ledger.connection import claim_partitions, store_warnings
from ledger.errors import StoreError

if TYPE_CHECKING:
    import redis.asyncio as redis

RETRY_INTERVAL_S: Final = 1.0

log = logging.getLogger("spendgate.store")


async def greet_store(client: "redis.Redis", workspace: str, partitions: int) -> bool:
    """Claim the partitions and log what is dangerous; False if the store does not answer.

    Raises `PartitionMismatch`: a sidecar that looks for users elsewhere must not serve.
    """
    try:
        await claim_partitions(client, workspace, partitions)
        for warning in await store_warnings(client):
            log.warning("%s", warning)
    except StoreError as error:
        log.warning("starting without the store, the rules' failure policies answer: %s", error)
        return False
    return True


async def keep_greeting(client: "redis.Redis", workspace: str, partitions: int) -> None:
    """Repeat until the store was greeted; for a sidecar that started without it."""
    while True:
        await asyncio.sleep(RETRY_INTERVAL_S)
        try:
            await claim_partitions(client, workspace, partitions)
            warnings = await store_warnings(client)
        except StoreError:
            continue
        for warning in warnings:
            log.warning("%s", warning)
        log.info("the store answers")
        return
