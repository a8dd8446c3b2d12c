"""Where handlers and pages find their collaborators: one typed key of the application each."""

from typing import Final

from aiohttp.web import AppKey

from controlplane.api.access import Access
from controlplane.settings import Settings
from ledger.event_log import EventLog
from ledger.spend_reader import SpendReader

SETTINGS: Final = AppKey("settings", Settings)
ACCESS: Final = AppKey("access", Access)
EVENT_LOG: Final = AppKey("event_log", EventLog)
SPEND_READER: Final = AppKey("spend_reader", SpendReader)
