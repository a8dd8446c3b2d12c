"""Runs a sidecar in this process: alone, or as the supervisor of several workers."""

import logging

import uvloop

from sidecar.listeners import Listeners
from sidecar.logs import configure_logs
from sidecar.service import serve
from sidecar.settings import Settings
from sidecar.workers import serve_workers

log = logging.getLogger("spendgate")


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; in-flight decisions finish first. Raises what makes a start impossible."""
    configure_logs(settings.log_level, settings.log_format)
    log.info("settings: %s", settings.describe())
    uvloop.run(serve_workers(settings) if settings.workers > 1 else serve(settings, on_serving=_tell))


def _tell(listeners: Listeners) -> None:
    log.info("serving decisions on %s, metrics on %s", listeners.decision_url, listeners.admin_url)
