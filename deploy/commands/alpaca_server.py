"""`alpaca-server`: run a local broker with Alpaca's protocol, to try the platform without an Alpaca key."""

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

import typer

from deploy.local.ports import require_free
from schemas.errors import BadInput

Port = Annotated[int, typer.Option(help="Port on 127.0.0.1 to listen on.")]
Symbols = Annotated[str, typer.Option(help="Comma-separated symbols to trade.")]
Seed = Annotated[int, typer.Option(help="Seed for the simulated prices.")]
Interval = Annotated[
    int, typer.Option("--bar-interval-s", help="Length of a bar in seconds; must divide 86400. Alpaca uses 60.")
]
Cash = Annotated[str, typer.Option(help="Cash of a new account, in USD.")]
State = Annotated[Path | None, typer.Option(help="File that stores the account between restarts.")]

PatternDayTrading = Annotated[
    bool,
    typer.Option(
        "--pattern-day-trading/--no-pattern-day-trading",
        help="Reject the fourth day trade in five business days while equity is below 25,000 USD (until June 2026).",
    ),
]


def register(app: typer.Typer) -> None:
    app.command("alpaca-server", help="Run a local broker with Alpaca's protocol until Ctrl-C.")(alpaca_server)


def alpaca_server(
    port: Port = 8090,
    symbols: Symbols = "AAPL,MSFT,NVDA,SPY,TSLA",
    seed: Seed = 7,
    bar_interval_s: Interval = 60,
    cash: Cash = "1000000",
    state: State = None,
    pattern_day_trading: PatternDayTrading = True,
) -> None:
    from deploy.alpaca_server import AlpacaServer, ServerSettings

    names = tuple(name.strip().upper() for name in symbols.split(",") if name.strip())
    if not names:
        raise BadInput("--symbols must list at least one symbol, found none")
    if bar_interval_s < 1 or 86_400 % bar_interval_s:
        raise BadInput(f"--bar-interval-s must divide 86400, found {bar_interval_s}")
    try:
        initial_cash = Decimal(cash)
    except InvalidOperation:
        raise BadInput(f"--cash must be a number, found {cash!r}") from None
    require_free("the local broker", port, "--port")
    settings = ServerSettings(
        port=port,
        symbols=names,
        seed=seed,
        bar_interval_s=bar_interval_s,
        cash=initial_cash,
        account_file=state,
        pattern_day_trading=pattern_day_trading,
    )
    server = AlpacaServer(settings)
    typer.echo(f"local broker listening at {server.url}; key and secret are both `local`")
    server.run()
