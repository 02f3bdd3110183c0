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


TimeOfDay = Annotated[str, BeforeValidator(_time_of_day), Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class ChecksSection(Section):
    """Scheduled checks, and the daily jobs `checkpoint create` and `archive create`.

    verify        [seconds] interval of the check `verify`; unset: off
    replay_check  [UTC] time of day (HH:MM) of the check `replay-check`; unset: off
    checkpoint    [UTC] time of day (HH:MM) of `checkpoint create`, from which replays and rebuilds start; unset: off
    archive       [UTC] time of day (HH:MM) of `archive create`, which moves old days of topics and old months of
                  tables to files; unset: off
    """

    verify: Annotated[int | None, BeforeValidator(in_seconds)] = 300
    replay_check: TimeOfDay | None = "02:00"
    checkpoint: TimeOfDay | None = "21:15"
    archive: TimeOfDay | None = "01:00"


class CheckpointsSection(Section):
    """Checkpoints: the states of all services after one time slice, from which replays and rebuilds start.

    retain  [days] age above which a checkpoint is deleted, except for the newest one and the first one of each month
    """

    retain: Annotated[int, Field(ge=1)] = 30


class DeadLettersSection(Section):
    """The rate of dead letters at which a service is suspended.

    every     limits of every service
    services  limits of single services by name, in place of `every`
    """

    every: RateLimits = RateLimits()
    services: dict[str, RateLimits] = Field(default_factory=dict)

    def limits_for(self, service: str) -> RateLimits:
        return self.services.get(service, self.every)


class PlatformSection(Section):
    """Settings of operations.

    checks               scheduled checks and the nightly jobs
    checkpoints          checkpoints, from which replays and rebuilds start
    dead_letters         rate of dead letters at which a service is suspended
    snapshot_interval_s  interval of snapshots: maximum of the work that is replayed after a crash
    log_level            minimum level of log entries
    """

    checks: ChecksSection = ChecksSection()
    checkpoints: CheckpointsSection = CheckpointsSection()
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
    """Settings of the API. Rates apply to each user.

    jwt_key            key that signs the tokens, at least 32 characters; unset: generated in the secrets of the state
                       folder
    metrics_token      token that reads the metrics, at least 16 characters; unset: generated in the secrets of the
                       state folder
    access_token_s     lifetime of an access token
    refresh_token_s    lifetime of a refresh token
    read_rate          most read requests of one user
    command_rate       maximum rate of one user's requests that change something, such as orders and cancels
    login_rate         failed log-ins without a delay, per account and per address; then the delay doubles from 1 s up
                       to the period
    command_timeout_s  how long a request waits until Kafka acknowledges its command
    stream_rate        maximum rate of one user's new WebSocket connections
    streams_max        [connections] maximum of open WebSockets per API process
    trusted_proxies    addresses or networks whose `X-Forwarded-For` header counts
    cors_origins       web origins whose pages may call the API
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
