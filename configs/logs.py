"""The platform's log: one JSON object a line on standard error, the same for every process.

Every line has `timestamp` (ISO 8601, UTC, microseconds), `level` (debug info warning error critical), `event` (one
sentence or less), `service` (as `status` names it) and `logger`; whatever else was said follows by name, `exception` is
a traceback. On a terminal the same lines are written for people. Secrets are masked before anything is written.
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
_SHORTEST_SECRET = 6
"""A shorter value would be found inside of ordinary words."""


class Mask:
    """A structlog processor that hides secrets: values under telling names, telling patterns, what it was told of."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._known: set[str] = set()
        self.hide(values)

    def hide(self, values: Iterable[str]) -> None:
        """From now on these values are masked wherever they turn up."""
        self._known |= {value for value in values if len(value) >= _SHORTEST_SECRET}

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> EventDict:
        return {key: MASK if _tells(key) and value else self.masked(value) for key, value in event.items()}

    def masked(self, value: Any) -> Any:
        """The value with every secret in it replaced, in strings and in what holds strings.

        >>> Mask(["hunter22"]).masked({"why": "hunter22 is wrong", "url": "postgresql://me:pw@host/db", "token": "x"})
        {'why': '*** is wrong', 'url': 'postgresql://me:***@host/db', 'token': '***'}
        """
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            return {key: MASK if _tells(str(key)) and each else self.masked(each) for key, each in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.masked(each) for each in value]
        # Whatever the renderer would call repr() on: an exception, a path, a settings tree.
        return value if value is None or isinstance(value, bool | int | float) else self._text(str(value))

    def _text(self, text: str) -> str:
        for secret in self._known:
            text = text.replace(secret, MASK)
        for pattern, instead in _PATTERNS:
            text = pattern.sub(instead, text)
        return text


def _tells(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None and _NOT_SECRET.search(name) is None


def secrets_of(environment: Mapping[str, str]) -> list[str]:
    """The values of environment variables whose names say that they are secret, and the passwords in addresses.

    >>> secrets_of({"ALPACA_SECRET_KEY": "abcdefgh", "PATH": "/bin", "DATABASE_URL": "postgresql://me:hunter22@db/books"})
    ['abcdefgh', 'hunter22']
    """
    named = [value for name, value in environment.items() if _tells(name) or name.endswith("_KEY")]
    return named + [found[1] for value in environment.values() if (found := _PASSWORD.search(value))]


_mask = Mask()
hide = _mask.hide
"""Mask these values in every line from now on: for whoever reads a secret from elsewhere than the environment."""


def configure(service: str, level: str = "INFO", *, stream: TextIO | None = None) -> None:
    """Log as `service` from here on: structlog's loggers, the standard library's, and what nobody caught.

    `level` is the lowest that is written. May be called again, when the settings are known.
    """
    stream = sys.stderr if stream is None else stream
    hide(secrets_of(os.environ))
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _named(service),
    ]
    people = stream.isatty()
    rendered: list[Processor] = (
        [structlog.dev.ConsoleRenderer()]
        if people
        else [_order, structlog.processors.JSONRenderer(default=str, ensure_ascii=False)]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _mask,
            *rendered,
        ],
    )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    out = logging.StreamHandler(stream)
    out.setFormatter(formatter)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(out)
    root.setLevel(level.upper())
    # They set up handlers of their own; through the root their lines look like all others.
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    sys.excepthook = _last_words


def _named(service: str) -> Processor:
    def add(_logger: Any, _method: str, event: EventDict) -> EventDict:
        event.setdefault("service", service)
        return event

    return add


def _order(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """What every line has comes first, so that a log can be read with the eyes too."""
    first = {name: event[name] for name in ("timestamp", "level", "service", "event") if name in event}
    return {**first, **event}


def _last_words(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What ends a process is its log's last line; its event is our own error where one is behind it.

    The engine wraps what was raised in a report of its own.
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
