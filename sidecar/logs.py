"""Logs to standard error, as text or one JSON object a line. Secrets never get here; settings redact themselves."""

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final

import orjson

TEXT_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: time, level, logger, message, a record's own fields, a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, tz=UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields.update(getattr(record, "fields", {}))
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(fields).decode()


class TextFormatter(logging.Formatter):
    """Formats a record for people; a record's own fields stand behind the message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, or lines if there is a traceback."""
        text = super().format(record)
        fields: dict[str, Any] = getattr(record, "fields", {})
        return f"{text} {' '.join(f'{name}={value!r}' for name, value in fields.items())}" if fields else text


def configure_logs(level: str, log_format: str) -> None:
    """Send this process' logs to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter(TEXT_FORMAT))
    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # It tells of each look at the rule file.
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
