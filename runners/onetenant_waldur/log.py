"""The agent's log: one JSON object a line on standard error, and no secret in it."""

import logging
import re
import sys
import threading
from collections.abc import Collection
from typing import Any, TextIO

import attrs
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger


MASK = "***"
_LIBRARY = "opennebula_tenancy"


_A_WORD_CHARACTERS = 16
"""From this length on a secret is no part of any other word, and is taken out also where one seems to go on: a line end
that is written as `\\n` ends in a letter."""


def _texts(secrets: Collection[str]) -> frozenset[str]:
    return frozenset(secrets)


@attrs.define(eq=False)
class Redaction:
    """Takes secrets out of what leaves the agent. Thread safe.

    Attributes:
        secrets: The texts to take out.
    """

    secrets: frozenset[str] = attrs.field(default=frozenset(), converter=_texts, repr=False)
    _pattern: re.Pattern[str] = attrs.field(init=False, repr=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._pattern = _pattern_of(self.secrets)

    def learn(self, secret: str) -> None:
        """Take out another text as well, from now on."""
        with self._lock:
            if secret and secret not in self.secrets:
                self.secrets |= {secret}
                self._pattern = _pattern_of(self.secrets)

    def text(self, text: str) -> str:
        """A text without the secrets."""
        return self._pattern.sub(MASK, text)

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


def _pattern_of(secrets: Collection[str]) -> re.Pattern[str]:
    # The longest first: a password is a part of `user:password`. A short one within a longer word is another word.
    parts = [
        re.escape(secret) if len(secret) >= _A_WORD_CHARACTERS else rf"(?<!\w){re.escape(secret)}(?!\w)"
        for secret in sorted(secrets, key=len, reverse=True)
        if secret
    ]
    return re.compile("|".join(parts) or r"(?!)")


class _ToStructlog(logging.Handler):
    """Hands what the library logs, through the standard library, to this log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record as an event of its own."""
        get().log(record.levelno, "library", message=record.getMessage(), logger=record.name)


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
    logging.getLogger(_LIBRARY).handlers[:] = [_ToStructlog(logging.INFO)]


def get() -> FilteringBoundLogger:
    """The log."""
    log: FilteringBoundLogger = structlog.get_logger()
    return log
