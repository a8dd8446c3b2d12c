"""What a sidecar's metrics say, read as Prometheus does."""

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.support.processes import SidecarProcess


async def metric(session: aiohttp.ClientSession, sidecar: SidecarProcess, name: str, **labels: str) -> float:
    """Return the sum of a metric's samples with these labels; 0 if there is none."""
    async with session.get(f"{sidecar.admin_url}/metrics") as response:
        text = await response.text()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())
