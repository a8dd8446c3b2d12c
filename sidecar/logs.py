"""Logs to standard error, as text or one JSON object a line. Secrets never get here; settings redact themselves."""

import logging
import sys
from datetime import UTC, datetime
from typing import Final

import orjson

TEXT_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: time, level, logger, message, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields = {
            "time": datetime.fromtimestamp(record.created, tz=UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(fields).decode()


def configure_logs(level: str, log_format: str) -> None:
    """Send this process' logs to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else logging.Formatter(TEXT_FORMAT))
    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # It tells of each look at the rule file.
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
