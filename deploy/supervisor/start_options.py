"""Validate the options of `start` and store them in the state folder, so that `restart` repeats them."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from dataflows.runtime.topology import Layout
from deploy.errors import DeployError
from deploy.home import Home
from deploy.name_arguments import require_choice
from deploy.supervisor.state import replace_file
from schemas.errors import BadInput

FEEDS = ("simulator", "files", "live", "alpaca", "polygon")
BROKERS = ("simulated", "alpaca", "local-alpaca")
LAYOUTS = tuple(Layout)
LOCAL_SYMBOLS = ("AAPL", "MSFT", "NVDA", "SPY", "TSLA")


@dataclass(frozen=True)
class StartOptions:
    """The options of `start`. `speed` is `max` or a multiple of real time. `live_account` is the account that trades
    real money. With `dev`, services restart when their code changes. `bar_interval` and `session` are those of the bar
    files, which every service needs. `layout` defines which services share a process.
    """

    feed: str | None = None
    bars: tuple[str, ...] = ()
    speed: str | None = None
    settings: str | None = None
    broker: str | None = None
    live_account: str | None = None
    dev: bool = False
    bar_interval: str | None = None
    session: str | None = None
    layout: str | None = None

    def requested_layout(self) -> Layout | None:
        """Return the layout of `--layout`, None for the one that the platform has."""
        return None if self.layout is None else Layout(self.layout)

    def environment(self) -> dict[str, str]:
        """Return the environment variables that set these options."""
        variables = {}
        if self.feed is not None:
            variables["MARKET_DATA__FEED"] = self.feed
        if self.bars:
            variables["MARKET_DATA__FILES__PATHS"] = json.dumps(list(self.bars))
        if self.bar_interval is not None:
            variables["MARKET_DATA__FILES__BAR_INTERVAL"] = self.bar_interval
        if self.session is not None:
            variables["MARKET_DATA__FILES__SESSION"] = self.session
        if self.speed is not None:
            variables["MARKET_DATA__FILES__SPEED"] = self.speed
        if self.settings is not None:
            variables["PLATFORM_SETTINGS"] = self.settings
        if self.broker is not None:
            variables |= (
                _local_broker_environment() if self.broker == "local-alpaca" else {"EXECUTION__BROKER": self.broker}
            )
            if self.broker == "local-alpaca" and self.feed not in (None, "alpaca"):
                variables["MARKET_DATA__FEED"] = self.feed
        if self.live_account is not None:
            variables |= {"TRADING_MODE": "live", "EXECUTION__LIVE_ACCOUNT": json.dumps(self.live_account)}
        return variables


def local_broker_port() -> int:
    """Return `PLATFORM_ALPACA_PORT`, or 8090. Raises DeployError if it is not a port."""
    text = os.environ.get("PLATFORM_ALPACA_PORT", "8090")
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise DeployError(f"PLATFORM_ALPACA_PORT must be a port from 1 to 65535, found {text!r}")
    return int(text)


def _local_broker_environment() -> dict[str, str]:
    """Return the settings for the local broker: one-second bars around the clock, and orders."""
    return {
        "EXECUTION__BROKER": "alpaca",
        "ALPACA__URL": f"http://127.0.0.1:{local_broker_port()}",
        # The local broker accepts any key.
        "ALPACA_API_KEY": "local",  # pragma: allowlist secret
        "ALPACA_SECRET_KEY": "local",  # pragma: allowlist secret
        "MARKET_DATA__FEED": "alpaca",
        "MARKET_DATA__LIVE__SYMBOLS": json.dumps(LOCAL_SYMBOLS),
        "MARKET_DATA__LIVE__CALENDAR": "24/7",
        "MARKET_DATA__LIVE__BAR_INTERVAL_S": "1",
        "MARKET_DATA__LIVE__WAIT_S": "0.5",
    }


def validate_options(
    feed: str | None,
    bars: list[Path],
    speed: str | None,
    settings: Path | None,
    broker: str | None = None,
    live_account: str | None = None,
    *,
    dev: bool = False,
    layout: str | None = None,
) -> StartOptions:
    """Validate the options. Raises BadInput with the option, what was expected and what was found."""
    if bars and feed is None:
        feed = "files"
    if feed is not None:
        require_choice("--feed", feed, FEEDS)
    if feed == "files" and not bars:
        raise BadInput("--feed files requires --bars PATH...")
    if bars and feed != "files":
        raise BadInput(f"--bars requires --feed files, found --feed {feed}")
    if speed is not None and speed != "max" and not _is_positive(speed):
        raise BadInput(f"--speed must be `max` or a number > 0, found {speed!r}")
    if broker is not None:
        require_choice("--broker", broker, BROKERS)
    if layout is not None:
        require_choice("--layout", layout, LAYOUTS)
    mode = os.environ.get("TRADING_MODE", "paper")
    if live_account is not None and mode != "live":
        raise BadInput(f"--live-account requires TRADING_MODE=live in the environment, found {mode}")
    for path in bars:
        if not _is_catalog(path):
            _require_readable("--bars", path)
    if settings is not None:
        _require_readable("--settings", settings, may_be_folder=False)
    absolute = tuple(str(path if _is_catalog(path) else path.resolve()) for path in bars)
    file = str(settings.resolve()) if settings else None
    return StartOptions(
        feed=feed,
        bars=absolute,
        speed=speed,
        settings=file,
        broker=broker,
        live_account=live_account,
        dev=dev,
        layout=layout,
    )


def _is_catalog(path: Path) -> bool:
    """Whether bars are those of the catalogue, which the recognition of the bars checks."""
    return str(path).startswith("catalog:")


def _require_readable(option: str, path: Path, *, may_be_folder: bool = True) -> None:
    """Raises BadInput if the user cannot read this file."""
    if not path.exists():
        raise BadInput(f"{option}: file {path} does not exist")
    if path.is_dir() and not may_be_folder:
        raise BadInput(f"{option}: expected a file, found the folder {path}")
    if not os.access(path, os.R_OK):
        raise BadInput(f"{option}: file {path} is not readable; check its permissions")


def save_options(home: Home, options: StartOptions) -> None:
    replace_file(home.run / "start.json", json.dumps(asdict(options)))


def dropped_settings_note(home: Home, options: StartOptions) -> str:
    """Return a note if the last `start` named a settings file and this one names none, else an empty text."""
    last = load_options(home).settings
    if last is None or options.settings is not None or os.environ.get("PLATFORM_SETTINGS"):
        return ""
    return (
        f"note: the last start used --settings {last}, this one uses the default settings: strategies of that file do "
        "not run, and their positions stay; `python cli.py restart` repeats the options of the last start"
    )


def load_options(home: Home) -> StartOptions:
    """Return the options of the last `start`; the defaults if there was none."""
    try:
        saved: Mapping[str, object] = json.loads((home.run / "start.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return StartOptions()
    fields = {name: saved[name] for name in StartOptions.__dataclass_fields__ if name in saved}
    bars, dev = fields.pop("bars", ()), fields.pop("dev", False) is True
    texts = {name: str(value) for name, value in fields.items() if value is not None}
    return StartOptions(bars=tuple(str(path) for path in bars) if isinstance(bars, list) else (), dev=dev, **texts)


def _is_positive(text: str) -> bool:
    try:
        return float(text) > 0
    except ValueError:
        return False
