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
    """Alerts about the account and its positions. An unset threshold disables its alert.

    daily_loss_threshold    [account currency] P&L of the day below which the alert is active
    position_concentration  [fraction] value of one position as a share of equity
    margin_utilization      [fraction] used share of a margin limit
    stale_position          [seconds] age of a held symbol's price while others have bars
    """

    daily_loss_threshold: Annotated[float, Field(lt=0)] | None = None
    position_concentration: PositiveRatio | None = None
    margin_utilization: PositiveRatio | None = None
    stale_position: AlertDuration | None = None


class SystemAlerts(FrozenModel):
    """Alerts about services, servers and the machine. An unset threshold disables its alert. For an alert about a
    condition, the threshold is how long the condition lasts before the alert is sent.

    service_downtime    [seconds] how long a service is unhealthy
    database_latency    [seconds] duration of a small query
    message_queue_lag   [messages] lag of a dataflow
    stale_feed          [seconds] time without data from the feed while the market is open
    dead_letter_rate    [fraction] dead letters as a share of a dataflow's input within five minutes
    dataflow_halted     [seconds] how long a dataflow is suspended because of too many dead letters
    configuration_lag   [seconds] how long a service is behind another one that has applied newer settings
    missing_records     [seconds] how long the sequence numbers of an input have a gap
    unverified_command  [seconds] how long the log has had a command without a valid signature
    check_failure       [seconds] how long a scheduled check or nightly job is in the state failed
    check_overdue       [seconds] how long a scheduled check or nightly job is overdue
    thread_death        [seconds] how long a background thread of a dataflow has been dead
    crash_loop          [restarts] restarts of a service within five minutes
    disk_space          [fraction] free share of the state folder's disk below which the alert is active
    disk_days_left      [days] days until the state folder's disk is full, at its present growth
    clock_skew          [seconds] difference between the API's and PostgreSQL's clock, or a step of this machine's clock
    """

    service_downtime: AlertDuration | None = None
    database_latency: AlertDuration | None = None
    message_queue_lag: Annotated[int, Field(ge=0)] | None = None
    stale_feed: AlertDuration | None = None
    dead_letter_rate: PositiveRatio | None = None
    dataflow_halted: AlertDuration | None = None
    configuration_lag: AlertDuration | None = None
    missing_records: AlertDuration | None = None
    unverified_command: AlertDuration | None = None
    check_failure: AlertDuration | None = None
    check_overdue: AlertDuration | None = None
    thread_death: AlertDuration | None = None
    crash_loop: Annotated[int, Field(ge=1)] | None = None
    disk_space: Annotated[float, Field(gt=0, lt=1)] | None = None
    disk_days_left: Annotated[float, Field(gt=0)] | None = None
    clock_skew: AlertDuration | None = None


class TradingAlerts(FrozenModel):
    """Alerts about orders, strategies and risk. An unset threshold disables its alert. For an alert about a condition,
    the threshold is how long the condition lasts before the alert is sent.

    order_rejection_rate        [fraction] rejected share of at least 20 orders within 15 minutes of event time
    execution_latency           [seconds] time from approval to fill (95th percentile), minus the one bar that a
                                simulated fill waits
    circuit_breaker_activation  [seconds] how long a circuit breaker is open or trading is halted
    strategy_suspension         [seconds] how long a strategy is suspended
    analysis_suspension         [seconds] how long an indicator or a model is suspended for a symbol
    risk_check_error            [seconds] how long a risk check has raised exceptions
    kill_switch_unconfirmed     [seconds] how long trading is halted on the host without the gateway's confirmation
    emulated_stop               [seconds] how long stops are open that work only while the platform runs, while the
                                gateway is down
    """

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
    """A receiver of alerts.

    name      name of the channel
    secret    name of the secret with the channel's addresses, one per line
    severity  lowest severity that the channel receives
    """

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
    """Hours in which alerts wait. If `end` is earlier than `begin`, they span midnight.

    begin        start of the quiet hours (HH:MM)
    end          end of the quiet hours (HH:MM), when the alerts that waited are sent
    timezone     IANA time zone of `begin` and `end`
    let_through  lowest severity that is sent during the quiet hours
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
    """Thresholds, severities and channels of the alerts.

    portfolio      thresholds of the account and its positions
    system         thresholds of services, servers and the machine
    trading        thresholds of orders, strategies and risk
    severity       severities by alert; the others have `warning`
    channels       receivers of the alerts
    dedupe_window  [seconds] time within which a recurring alert is sent once
    quiet_hours    hours in which less severe alerts wait; unset: none
    check_every    [seconds] interval at which the conditions are checked
    metrics_url    address of the metrics that are checked
    """

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
