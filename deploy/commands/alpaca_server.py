"""`alpaca-server`: the local broker, for trying the platform against Alpaca's protocol without a key."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.errors import DeployError
from deploy.local.ports import require_free

Port = Annotated[int, typer.Option(help="Where it listens on 127.0.0.1.")]
Symbols = Annotated[str, typer.Option(help="What it trades, with commas between.")]
Seed = Annotated[int, typer.Option(help="Of its simulated prices.")]
Interval = Annotated[int, typer.Option("--bar-interval-s", help="Length of its bars; Alpaca's are 60 s.")]

State = Annotated[Path | None, typer.Option(help="A file that keeps the account over restarts.")]


def register(app: typer.Typer) -> None:
    app.command("alpaca-server", help="A local broker that speaks Alpaca's protocol, until Ctrl-C.")(alpaca_server)


def alpaca_server(
    port: Port = 8090,
    symbols: Symbols = "AAPL,MSFT,NVDA,SPY,TSLA",
    seed: Seed = 7,
    bar_interval_s: Interval = 60,
    state: State = None,
) -> None:
    from deploy.alpaca_server import AlpacaServer, ServerSettings

    names = tuple(name.strip().upper() for name in symbols.split(",") if name.strip())
    if not names:
        raise DeployError("--symbols needs at least one symbol")
    if bar_interval_s < 1 or 86_400 % bar_interval_s:
        raise DeployError(f"--bar-interval-s must divide 86400, found {bar_interval_s}")
    require_free("the local broker", port, "--port")
    settings = ServerSettings(port=port, symbols=names, seed=seed, bar_interval_s=bar_interval_s, account_file=state)
    server = AlpacaServer(settings)
    typer.echo(f"a local broker listens at {server.url}; key and secret are `local`")
    server.run()
