"""Settings of operations and of the API. None of them changes a trading decision."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from configs.settings.sections import Section, in_seconds
from operators.dead_letter_rate import RateLimits

LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
    BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value),
]


def _time_of_day(value: Any) -> Any:
    """Convert H:MM to HH:MM."""
    return value.zfill(len("HH:MM")) if isinstance(value, str) else value


class ChecksSection(Section):
    """Scheduled checks: `verify` at an interval in seconds, `replay_check` at a time of day in UTC."""

    verify: Annotated[int | None, BeforeValidator(in_seconds)] = 300
    replay_check: Annotated[
        Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] | None, BeforeValidator(_time_of_day)
    ] = "02:00"


class DeadLettersSection(Section):
    """The rate of dead letters at which a service is suspended; `services` overrides `every` for single services."""

    every: RateLimits = RateLimits()
    services: dict[str, RateLimits] = Field(default_factory=dict)

    def limits_for(self, service: str) -> RateLimits:
        return self.services.get(service, self.every)


class PlatformSection(Section):
    checks: ChecksSection = ChecksSection()
    dead_letters: DeadLettersSection = DeadLettersSection()
    snapshot_interval_s: Annotated[int, Field(ge=1)] = 1
    log_level: LogLevel = "INFO"


Rate = Annotated[str, Field(pattern=r"^[1-9]\d{0,8}/(second|minute|hour|day)$")]
"""Maximum of requests within a sliding window, e.g. "600/minute"."""


def _network(text: str) -> str:
    ip_network(text, strict=False)  # its ValueError names the text
    return text


NetworkText = Annotated[str, AfterValidator(_network)]
"""An IP address or network, e.g. "127.0.0.1" or "10.0.0.0/8"."""


class ApiSection(Section):
    """Settings of the API. Rates apply to each user. `login_rate` is the number of failed log-ins without a delay, per
    account and per address; after them, the delay doubles from 1 s up to the period. Without `jwt_key` or
    `metrics_token`, the API generates them in the secrets of the state folder. `X-Forwarded-For` counts only from
    `trusted_proxies` (addresses or networks).
    """

    jwt_key: Annotated[SecretStr, Field(min_length=32)] | None = None
    metrics_token: Annotated[SecretStr, Field(min_length=16)] | None = None
    access_token_s: Annotated[int, Field(ge=10)] = 900
    refresh_token_s: Annotated[int, Field(ge=60)] = 7 * 86_400
    read_rate: Rate = "1200/minute"
    command_rate: Rate = "120/minute"
    login_rate: Rate = "10/minute"
    command_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    stream_rate: Rate = "60/minute"
    streams_max: Annotated[int, Field(ge=1)] = 500
    trusted_proxies: tuple[NetworkText, ...] = ()
    cors_origins: tuple[str, ...] = ("http://localhost:3000", "http://127.0.0.1:3000")
