"""The agent's log: one JSON object a line on standard error, and no secret in it."""

import logging
import re
import sys
from collections.abc import Collection
from typing import Any, TextIO

import attrs
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger


MASK = "***"


@attrs.frozen
class Redaction:
    """Takes secrets out of what leaves the agent.

    Attributes:
        secrets: The texts to take out.
    """

    secrets: Collection[str] = attrs.field(default=(), repr=False)

    def text(self, text: str) -> str:
        """A text without the secrets."""
        # The longest first: a password is a part of `user:password`. Within a longer word it is another word.
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", MASK, text)
        return text

    def value(self, value: Any) -> Any:
        """A value of an event, of texts, lists and dictionaries, without the secrets."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """Take the secrets out of an event: a processor of structlog."""
        return {key: self.value(item) for key, item in event.items()}


def configure(level: str = "INFO", redaction: Redaction | None = None, stream: TextIO | None = None) -> None:
    """Set up the log of this process.

    Args:
        level: From which level on to log.
        redaction: What to keep out of it.
        stream: Where to write; standard error when omitted.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redaction or Redaction(),
            structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )


def get() -> FilteringBoundLogger:
    """The log."""
    log: FilteringBoundLogger = structlog.get_logger()
    return log
