"""Where orders go: the simulated venue, or an account at Alpaca."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from configs.settings.sections import Seconds, Section
from operators.venue import VenueSettings
from schemas.errors import BadInput


class AlpacaSection(Section):
    """The account at Alpaca. `url` names another server that speaks its protocol, such as `cli.py alpaca-server`."""

    api_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    url: Annotated[str, Field(pattern=r"^https?://[^/]+$")] | None = None

    def keys(self) -> tuple[str, str]:
        """Key and secret; a server of one's own gets `local` where none are set. Raises BadInput."""
        if self.api_key is not None and self.secret_key is not None:
            return self.api_key.get_secret_value(), self.secret_key.get_secret_value()
        if self.url is not None and self.api_key is None and self.secret_key is None:
            return "local", "local"
        raise BadInput("Alpaca needs ALPACA_API_KEY and ALPACA_SECRET_KEY, found none or one of them")


class AlpacaGatewaySection(Section):
    """How orders go through Alpaca: `GatewaySettings` of operators/gateway, and times of the edge in seconds
    (`BrokerClientSettings` of dataflows/broker/broker_client.py). `platform_id` is the prefix of every order id at the broker.
    """

    extended_hours: bool = False
    collar_bps: Decimal = Decimal(50)
    foreign_positions: dict[str, Decimal] = Field(default_factory=dict)
    platform_id: Annotated[str, Field(pattern=r"^[a-z0-9]{1,20}$")] | None = None
    order_age_max_s: Seconds = 60.0
    request_timeout_s: Seconds = 10.0
    settle_s: Seconds = 10.0
    refetch_s: Seconds = 2.0
    poll_s: Seconds = 15.0
    reconcile_s: Seconds = 60.0
    requests_per_minute: Annotated[int, Field(ge=10, le=10_000)] = 180


class ExecutionSection(Section):
    """`broker`: the simulated venue, or Alpaca. `mode` live trades real money: it needs `live_account`, the number of
    the account that is meant.
    """

    broker: Literal["simulated", "alpaca"] = "simulated"
    mode: Literal["paper", "live"] = "paper"
    live_account: str | None = None
    venue: VenueSettings = VenueSettings()
    alpaca: AlpacaGatewaySection = AlpacaGatewaySection()
