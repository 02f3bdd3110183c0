"""Settings of the execution: the simulated venue or an account at Alpaca."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from configs.settings.sections import Seconds, Section
from operators.venue import VenueSettings
from schemas.errors import BadInput


class AlpacaSection(Section):
    """The account at Alpaca.

    api_key     key id of the account (the secret ALPACA_API_KEY)
    secret_key  secret key of the account (the secret ALPACA_SECRET_KEY)
    url         address of another server with the same API, such as `python cli.py alpaca-server`; unset: Alpaca itself
    """

    api_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    url: Annotated[str, Field(pattern=r"^https?://[^/]+$")] | None = None

    def keys(self) -> tuple[str, str]:
        """Return (key id, secret key). With `url` and without keys, both are `local`.

        Raises BadInput if a key is missing.
        """
        if self.api_key is not None and self.secret_key is not None:
            return self.api_key.get_secret_value(), self.secret_key.get_secret_value()
        if self.url is not None and self.api_key is None and self.secret_key is None:
            return "local", "local"
        raise BadInput("Alpaca requires both ALPACA_API_KEY and ALPACA_SECRET_KEY, found at most one of them")


class AlpacaGatewaySection(Section):
    """Settings of the gateway to Alpaca: those of `GatewaySettings` (operators/gateway) and of the broker client.

    platform_id          prefix of every order id at the broker; unset: a hash of Kafka's cluster id
    order_age_max_s      age above which an intent is rejected instead of sent
    request_timeout_s    timeout of a request
    settle_s             time after the last attempt to send an order until "not found" means that the broker never
                         received it
    refetch_s            delay from an order's update to a lookup of the order, because fill reports can be lost
    poll_s               interval of lookups while the order works
    reconcile_s          interval of reconciliation with the broker's account
    requests_per_minute  [requests per minute] maximum rate; lower after the broker has reported too many requests
    cash_tolerance       [account currency] difference between the broker's and the books' cash that is accepted;
                         `unlimited`: not compared
    foreign_cash         [account currency] cash on the account that does not belong to this platform
    extended_hours       whether to trade also in the pre- and post-market, where market orders become limit orders
    collar_bps           distance of the limit price of such an order from the last price
    foreign_positions    [units] signed positions on the account that do not belong to this platform, by symbol
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
    cash_tolerance: Decimal | Literal["unlimited"] = Decimal(1)
    foreign_cash: Decimal = Decimal(0)


class ExecutionSection(Section):
    """Where orders are executed.

    broker        the simulated venue or Alpaca
    mode          `paper`, or `live` to trade real money, which also requires `live_account`
    live_account  number of the account that trades real money; allowed only with the mode `live`
    venue         fees, slippage and other rules of the simulated venue
    alpaca        the gateway to Alpaca
    """

    broker: Literal["simulated", "alpaca"] = "simulated"
    mode: Literal["paper", "live"] = "paper"
    live_account: str | None = None
    venue: VenueSettings = VenueSettings()
    alpaca: AlpacaGatewaySection = AlpacaGatewaySection()
