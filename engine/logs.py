"""How log records look: lines for people, or one JSON object per line for machines."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

LogFormat = Literal["text", "json"]

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
#: the record attribute that holds a record's own fields
FIELDS = "fields"


def configure_logging(form: LogFormat) -> None:
    """Set up the root logger of this process to write to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else TextLines(TEXT))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)


class TextLines(logging.Formatter):
    """A line for people, its own fields behind the message as name=value."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        line = super().formatMessage(record)
        fields = {name: value for name, value in _fields(record).items() if value is not None}
        return " ".join([line, *(f"{name}={_on_one_line(value)}" for name, value in fields.items())])


class JsonLines(logging.Formatter):
    """One object per line: time (UTC, ISO 8601), level, logger, message, the record's own fields, and an exception."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{name: value for name, value in _fields(record).items() if value is not None},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def _on_one_line(value: Any) -> str:
    """What does not print, line ends of every kind among it, is escaped: no client's word may begin a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = getattr(record, FIELDS, {})
    assert isinstance(fields, dict)
    return fields
