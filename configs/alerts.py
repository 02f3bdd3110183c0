"""The settings of alerts: thresholds, severities, channels, quiet hours. Unknown keys are errors."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from configs.secrets import known_secrets

INFO, WARNING, CRITICAL = "info", "warning", "critical"
Severity = Literal["info", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def duration_s(given: Any) -> Any:
    """
    >>> duration_s("100ms"), duration_s("5m"), duration_s("immediate"), duration_s(None)
    (0.1, 300.0, 0.0, None)
    """
    if given is None or isinstance(given, bool | float):
        return given  # a float is in seconds already: settings made out of settings
    if given == "immediate":
        return 0.0
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", str(given).strip())
    if match is None:
        raise ValueError(f'must be a duration such as "100ms", "30s", "5m" or immediate, found {given!r}')
    return float(match[1]) * _UNIT_S[match[2]]


Duration = Annotated[float, Field(ge=0), BeforeValidator(duration_s)]
"""Seconds, written as "100ms", "30s", "5m", "4h" or immediate."""
Share = Annotated[float, Field(gt=0)]


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PortfolioAlerts(Part):
    daily_loss_threshold: Annotated[float, Field(lt=0)] | None = None
    position_concentration: Share | None = None
    margin_utilization: Share | None = None


class SystemAlerts(Part):
    service_downtime: Duration | None = None
    database_latency: Duration | None = None
    message_queue_lag: Annotated[int, Field(ge=0)] | None = None
    stale_feed: Duration | None = None
    dead_letter_rate: Share | None = None
    dataflow_halted: Duration | None = None
    missing_records: Duration | None = None
    check_failure: Duration | None = None


class TradingAlerts(Part):
    order_rejection_rate: Share | None = None
    execution_latency: Duration | None = None
    circuit_breaker_activation: Duration | None = None


NAMES = frozenset({*PortfolioAlerts.model_fields, *SystemAlerts.model_fields, *TradingAlerts.model_fields})


class Channel(Part):
    """Where alerts of at least `severity` go: the addresses in `secret`, one a line."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,30}$")]
    secret: str
    severity: Severity = "warning"

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.secret not in known_secrets():
            raise ValueError(f"secret must be one of configs/secrets.yaml, found {self.secret!r}")
        return self

    def takes(self, severity: Severity) -> bool:
        return SEVERITIES.index(severity) >= SEVERITIES.index(self.severity)


class QuietHours(Part):
    """From `begin` to `end` at `timezone`, over midnight where `end` is earlier, only `let_through` and above is told
    at once; the rest waits for the end.
    """

    begin: time
    end: time
    timezone: str = "UTC"
    let_through: Severity = "critical"

    @model_validator(mode="after")
    def _possible(self) -> Self:
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"timezone must be a name such as America/New_York, found {self.timezone!r}") from error
        if self.begin == self.end:
            raise ValueError("begin and end must differ")
        return self

    def holds_back(self, severity: Severity, now: datetime) -> datetime | None:
        """Until when an alert has to wait; None when it need not. `now` carries a zone."""
        if SEVERITIES.index(severity) >= SEVERITIES.index(self.let_through):
            return None
        local = now.astimezone(ZoneInfo(self.timezone))
        at = local.time()
        over_midnight = self.end < self.begin
        quiet = (at >= self.begin or at < self.end) if over_midnight else self.begin <= at < self.end
        if not quiet:
            return None
        day = local.date() + timedelta(days=1 if over_midnight and at >= self.begin else 0)
        return datetime.combine(day, self.end, tzinfo=ZoneInfo(self.timezone))


class Alerts(Part):
    """Thresholds; ~ switches an alert off."""

    portfolio: PortfolioAlerts = PortfolioAlerts()
    system: SystemAlerts = SystemAlerts()
    trading: TradingAlerts = TradingAlerts()
    severity: dict[str, Severity] = {}
    channels: tuple[Channel, ...] = ()
    dedupe_window: Duration = 900.0
    quiet_hours: QuietHours | None = None
    check_every: Annotated[float, Field(ge=0.1), BeforeValidator(duration_s)] = 5.0
    metrics_url: Annotated[str, Field(pattern=r"^https?://")] = "http://127.0.0.1:8000/metrics"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        unknown = sorted(self.severity.keys() - NAMES)
        if unknown:
            raise ValueError(f"severity names the alert {unknown[0]!r}; there are {', '.join(sorted(NAMES))}")
        names = [channel.name for channel in self.channels]
        if len(set(names)) < len(names):
            raise ValueError("two channels have one name")
        return self

    def severity_of(self, name: str) -> Severity:
        return self.severity.get(name, "warning")
