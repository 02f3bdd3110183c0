"""Settings of alerts: thresholds, severities, channels and quiet hours. Unknown keys are errors."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from typing import Annotated, Any, Final, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from configs.secrets import declared_secrets
from schemas.suggestions import did_you_mean

INFO: Final = "info"
WARNING: Final = "warning"
CRITICAL: Final = "critical"
Severity = Literal["info", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def parse_duration(value: Any) -> Any:
    """Convert a duration to seconds. Raises ValueError if the text is not a duration.

    >>> parse_duration("100ms"), parse_duration("5m"), parse_duration("immediate"), parse_duration(None)
    (0.1, 300.0, 0.0, None)
    """
    if value is None or isinstance(value, bool | float):
        return value  # a float is already in seconds: the value comes from parsed settings
    if value == "immediate":
        return 0.0
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", str(value).strip())
    if match is None:
        raise ValueError(f'must be a duration such as "100ms", "30s", "5m" or immediate, found {value!r}')
    return float(match[1]) * _UNIT_S[match[2]]


AlertDuration = Annotated[float, Field(ge=0), BeforeValidator(parse_duration)]
"""Seconds, written as "100ms", "30s", "5m", "4h" or "immediate"."""
PositiveRatio = Annotated[float, Field(gt=0)]


class FrozenModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PortfolioAlerts(FrozenModel):
    daily_loss_threshold: Annotated[float, Field(lt=0)] | None = None
    position_concentration: PositiveRatio | None = None
    margin_utilization: PositiveRatio | None = None
    stale_position: AlertDuration | None = None


class SystemAlerts(FrozenModel):
    service_downtime: AlertDuration | None = None
    database_latency: AlertDuration | None = None
    message_queue_lag: Annotated[int, Field(ge=0)] | None = None
    stale_feed: AlertDuration | None = None
    dead_letter_rate: PositiveRatio | None = None
    dataflow_halted: AlertDuration | None = None
    missing_records: AlertDuration | None = None
    unverified_command: AlertDuration | None = None
    check_failure: AlertDuration | None = None
    check_overdue: AlertDuration | None = None
    thread_death: AlertDuration | None = None
    crash_loop: Annotated[int, Field(ge=1)] | None = None
    disk_space: Annotated[float, Field(gt=0, lt=1)] | None = None
    clock_skew: AlertDuration | None = None


class TradingAlerts(FrozenModel):
    order_rejection_rate: PositiveRatio | None = None
    execution_latency: AlertDuration | None = None
    circuit_breaker_activation: AlertDuration | None = None
    strategy_suspension: AlertDuration | None = None
    analysis_suspension: AlertDuration | None = None
    risk_check_error: AlertDuration | None = None
    kill_switch_unconfirmed: AlertDuration | None = None
    emulated_stop: AlertDuration | None = None


ALERT_NAMES = frozenset({*PortfolioAlerts.model_fields, *SystemAlerts.model_fields, *TradingAlerts.model_fields})


class Channel(FrozenModel):
    """A receiver of the alerts of at least `severity`. The secret named `secret` holds its addresses, one per line."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,30}$")]
    secret: str
    severity: Severity = "warning"

    @model_validator(mode="after")
    def _check_secret(self) -> Self:
        if self.secret not in declared_secrets():
            raise ValueError(
                f"secret of channel {self.name} must be one of configs/secrets.yaml, found {self.secret!r}"
                f"{did_you_mean(self.secret, declared_secrets())}"
            )
        return self

    def accepts(self, severity: Severity) -> bool:
        return SEVERITIES.index(severity) >= SEVERITIES.index(self.severity)


class QuietHours(FrozenModel):
    """Between `begin` and `end` in `timezone`, alerts below the severity `let_through` wait until `end`. If `end` is
    earlier than `begin`, the quiet hours span midnight.
    """

    begin: time
    end: time
    timezone: str = "UTC"
    let_through: Severity = "critical"

    @model_validator(mode="after")
    def _check_hours(self) -> Self:
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"timezone must be a name such as America/New_York, found {self.timezone!r}") from error
        if self.begin == self.end:
            raise ValueError("begin and end must differ")
        return self

    def deferred_until(self, severity: Severity, now: datetime) -> datetime | None:
        """Return when an alert may be sent; None if it may be sent now. `now` is timezone-aware."""
        if SEVERITIES.index(severity) >= SEVERITIES.index(self.let_through):
            return None
        local = now.astimezone(ZoneInfo(self.timezone))
        time_of_day = local.time()
        over_midnight = self.end < self.begin
        quiet = (
            (time_of_day >= self.begin or time_of_day < self.end)
            if over_midnight
            else self.begin <= time_of_day < self.end
        )
        if not quiet:
            return None
        day = local.date() + timedelta(days=1 if over_midnight and time_of_day >= self.begin else 0)
        return datetime.combine(day, self.end, tzinfo=ZoneInfo(self.timezone))


class AlertsSection(FrozenModel):
    """Thresholds of the alerts; null (~) disables an alert."""

    portfolio: PortfolioAlerts = PortfolioAlerts()
    system: SystemAlerts = SystemAlerts()
    trading: TradingAlerts = TradingAlerts()
    severity: dict[str, Severity] = {}
    channels: tuple[Channel, ...] = ()
    dedupe_window: AlertDuration = 900.0
    quiet_hours: QuietHours | None = None
    check_every: Annotated[float, Field(ge=0.1), BeforeValidator(parse_duration)] = 5.0
    metrics_url: Annotated[str, Field(pattern=r"^https?://")] = "http://127.0.0.1:8000/metrics"

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        unknown = sorted(self.severity.keys() - ALERT_NAMES)
        if unknown:
            raise ValueError(
                f"severity: unknown alert {unknown[0]!r}{did_you_mean(unknown[0], ALERT_NAMES) or '.'}"
                f" Known alerts: {', '.join(sorted(ALERT_NAMES))}"
            )
        names = [channel.name for channel in self.channels]
        if len(set(names)) < len(names):
            raise ValueError(f"channel names must be unique, found {', '.join(names)}")
        return self

    def severity_of(self, name: str) -> Severity:
        return self.severity.get(name, "warning")
