"""Where handlers and pages find their collaborators: one typed key of the application each."""

from typing import Final

from aiohttp.web import AppKey

from controlplane.api.access import Access
from controlplane.registry import Registry
from controlplane.rule_lists import RuleLists
from controlplane.settings import Settings
from controlplane.sidecars import SidecarBoard
from ledger.event_log import EventLog
from ledger.spend_reader import SpendReader

SETTINGS: Final = AppKey("settings", Settings)
ACCESS: Final = AppKey("access", Access)
REGISTRY: Final = AppKey("registry", Registry)
TEMPLATES: Final = AppKey("templates", RuleLists)
OVERRIDES: Final = AppKey("overrides", RuleLists)
EVENT_LOG: Final = AppKey("event_log", EventLog)
SPEND_READER: Final = AppKey("spend_reader", SpendReader)
SIDECARS: Final = AppKey("sidecars", SidecarBoard)
