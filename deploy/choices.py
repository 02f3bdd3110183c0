"""What the user chose at `start`, remembered in the state folder so that `restart` repeats it."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy.errors import DeployError
from deploy.home import Home

FEEDS = ("simulator", "files")


@dataclass(frozen=True)
class Choices:
    """The feed and the user's settings file. `speed` is `max` or a number: times as fast as the clock."""

    feed: str | None = None
    bars: tuple[str, ...] = ()
    speed: str | None = None
    settings: str | None = None

    def environment(self) -> dict[str, str]:
        """The settings' environment variables that say the same."""
        told = {}
        if self.feed is not None:
            told["MARKET_DATA__FEED"] = self.feed
        if self.bars:
            told["MARKET_DATA__FILES__PATHS"] = json.dumps(list(self.bars))
        if self.speed is not None:
            told["MARKET_DATA__FILES__SPEED"] = self.speed
        if self.settings is not None:
            told["PLATFORM_SETTINGS"] = self.settings
        return told


def choose(feed: str | None, bars: list[Path], speed: str | None, settings: Path | None) -> Choices:
    """Check what was typed. Raises DeployError naming the option, what was expected and what was found."""
    if bars and feed is None:
        feed = "files"
    if feed is not None and feed not in FEEDS:
        raise DeployError(f"--feed must be one of {', '.join(FEEDS)}, found {feed!r}")
    if feed == "files" and not bars:
        raise DeployError("--feed files needs --bars PATH...")
    if feed == "simulator" and bars:
        raise DeployError("--bars belongs to --feed files, found --feed simulator")
    if speed is not None and speed != "max" and not _is_positive(speed):
        raise DeployError(f"--speed must be `max` or a number > 0, found {speed!r}")
    for path in [*bars, *([settings] if settings else [])]:
        if not os.access(path, os.R_OK) or (path.is_dir() and path not in bars):
            raise DeployError(f"{path} is not a file that can be read")
    absolute = tuple(str(path.resolve()) for path in bars)
    return Choices(feed, absolute, speed, str(settings.resolve()) if settings else None)


def remember(home: Home, choices: Choices) -> None:
    path = home.run / "start.json"
    path.write_text(json.dumps(asdict(choices)))


def remembered(home: Home) -> Choices:
    """The choices of the last `start`; the defaults when there was none."""
    try:
        written: Mapping[str, object] = json.loads((home.run / "start.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return Choices()
    known = {name: written[name] for name in Choices.__dataclass_fields__ if name in written}
    bars = known.pop("bars", ())
    texts = {name: str(value) for name, value in known.items() if value is not None}
    return Choices(bars=tuple(str(path) for path in bars) if isinstance(bars, list) else (), **texts)


def _is_positive(text: str) -> bool:
    try:
        return float(text) > 0
    except ValueError:
        return False
