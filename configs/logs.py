"""The platform's log: one JSON object per line on standard error, in the same format for every process.

Every line has `timestamp` (ISO 8601, UTC, microseconds), `level` (debug info warning error critical), `event` (one
sentence or less), `service` (its name in `status`) and `logger`. Further fields of the event follow; `exception` is a
traceback. On a terminal, the lines have a readable format. Secrets are masked before a line is written.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
from collections.abc import Iterable, Mapping, MutableMapping
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor

from schemas.errors import PlatformError

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
MASK = "***"
_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)?$|secret|token$|api_?key|jwt_?key|private_?key|authorization|credential", re.I
)
_NOT_SECRET = re.compile(r"(_file|_path|_id|_version|_s)$", re.I)
_PATTERNS = (
    # user:password@ in an address, Bearer and Basic headers, a JSON Web Token, token=... in a query string.
    (re.compile(r"(?<=://)([^\s:/@]*):([^\s@]+)@"), rf"\1:{MASK}@"),
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{8,}", re.I), rf"\1 {MASK}"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"), MASK),
    (re.compile(r"(?i)\b((?:access_|refresh_)?token|password|secret|api_?key)=([^\s&\"']+)"), rf"\1={MASK}"),
)
_PASSWORD = re.compile(r"://[^\s:/@]*:([^\s@]+)@")
_SECRET_LENGTH_MIN = 6
"""A shorter value would also match inside ordinary words."""


class SecretMask:
    """A structlog processor that masks secrets: values with the name of a secret, known patterns and registered
    values.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._secrets: set[str] = set()
        self.add(values)

    def add(self, values: Iterable[str]) -> None:
        """Mask these values in all later lines."""
        self._secrets |= {value for value in values if len(value) >= _SECRET_LENGTH_MIN}

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> EventDict:
        return {key: MASK if _is_secret_name(key) and value else self.mask(value) for key, value in event.items()}

    def mask(self, value: Any) -> Any:
        """Return the value with every secret in it replaced, in strings and in containers of strings.

        >>> secret_mask = SecretMask(["hunter22"])
        >>> secret_mask.mask({"why": "hunter22 is wrong", "url": "postgresql://me:pw@host/db", "token": "x"})
        {'why': '*** is wrong', 'url': 'postgresql://me:***@host/db', 'token': '***'}
        """
        if isinstance(value, str):
            return self._mask_text(value)
        if isinstance(value, Mapping):
            return {key: MASK if _is_secret_name(str(key)) and each else self.mask(each) for key, each in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.mask(each) for each in value]
        # Any other object as text: an exception, a path, a settings tree.
        return value if value is None or isinstance(value, bool | int | float) else self._mask_text(str(value))

    def _mask_text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text


def _is_secret_name(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None and _NOT_SECRET.search(name) is None


def secret_values(environment: Mapping[str, str]) -> list[str]:
    """Return the values of environment variables with the name of a secret, and the passwords in URLs.

    >>> secret_values({"ALPACA_SECRET_KEY": "abcdefgh", "PATH": "/bin", "DATABASE_URL": "postgresql://me:hunter22@db/books"})
    ['abcdefgh', 'hunter22']
    """
    by_name = [value for name, value in environment.items() if _is_secret_name(name) or name.endswith("_KEY")]
    return by_name + [match[1] for value in environment.values() if (match := _PASSWORD.search(value))]


_mask = SecretMask()
mask_values = _mask.add
"""Masks these values in all later lines. Call it for secrets that do not come from the environment."""


def configure(service: str, level: str = "INFO", *, stream: TextIO | None = None) -> None:
    """Configure the log of this process: structlog, the standard library's loggers and uncaught exceptions.

    `service` is a field of every line. `level` is the minimum level. Call it again after the settings are loaded.
    """
    stream = sys.stderr if stream is None else stream
    mask_values(secret_values(os.environ))
    shared_processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _add_service_name(service),
    ]
    interactive = stream.isatty()
    renderers: list[Processor] = (
        [structlog.dev.ConsoleRenderer()]
        if interactive
        else [_order_keys, structlog.processors.JSONRenderer(default=str, ensure_ascii=False)]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared_processors,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _mask,
            *renderers,
        ],
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared_processors,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for existing in root.handlers[:]:
        root.removeHandler(existing)
    root.addHandler(handler)
    root.setLevel(level.upper())
    # Uvicorn installs its own handlers. Without them, its lines go through the root logger in the common format.
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    sys.excepthook = _log_uncaught


def _add_service_name(service: str) -> Processor:
    def add(_logger: Any, _method: str, event: EventDict) -> EventDict:
        event.setdefault("service", service)
        return event

    return add


def _order_keys(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Move the common fields to the start of the line, so that people can read the log."""
    first = {name: event[name] for name in ("timestamp", "level", "service", "event") if name in event}
    return {**first, **event}


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log the exception that ends a process. The event is the PlatformError that caused it, if there is one.

    The dataflow engine wraps exceptions in its own.
    """
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, PlatformError):
        cause = cause.__cause__
    text = "".join(traceback.format_exception(kind, error, trace))
    event = f"error: {cause}" if cause is not None else f"error: {kind.__name__}: {error}"
    structlog.get_logger("process").critical(event, exception=text)
