"""Paths of the state folder of one local platform: `PLATFORM_HOME`, or `var/` in the repository."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import DeployError

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Home:
    """Paths under one state folder. Nothing is created until `create_folders`."""

    root: Path

    @property
    def run(self) -> Path:
        """Runtime state: state.json, the control socket and stats/NAME.json of each dataflow."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def data(self) -> Path:
        """Data folders of the embedded services."""
        return self.root / "data"

    @property
    def recovery(self) -> Path:
        """Bytewax recovery stores, one folder per dataflow."""
        return self.root / "recovery"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def stats(self) -> Path:
        return self.run / "stats"

    @property
    def checks(self) -> Path:
        """The last result of each scheduled check, in NAME.json."""
        return self.run / "checks"

    @property
    def state_file(self) -> Path:
        return self.run / "state.json"

    def create_folders(self) -> None:
        """Create the folders. Raises DeployError if that fails."""
        try:
            for folder in (self.run, self.stats, self.logs, self.data, self.recovery):
                folder.mkdir(parents=True, exist_ok=True)
            self.secrets.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise DeployError(f"cannot create the state folder {self.root}: {error.strerror}") from error

    def secret(self, name: str) -> str:
        """Return the password `name`. It is generated at first use into a file that only its owner can read."""
        path = self.secrets / name
        try:
            return path.read_text().strip()
        except FileNotFoundError:
            value = secrets.token_urlsafe(24)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(value + "\n")
            return value


def home_from_environment() -> Home:
    """Return the state folder from `PLATFORM_HOME`, else `var/` in the repository."""
    return Home(Path(os.environ.get("PLATFORM_HOME") or REPOSITORY / "var").resolve())


def cache_folder(home: Home) -> Path:
    """Return the folder for verified downloads. All state folders of a user share it.

    Falls back to the state folder if the user has no writable cache folder.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "institutional-trading-platform"
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError:
        base = home.root / "cache"
        base.mkdir(parents=True, exist_ok=True)
    return base if os.access(base, os.W_OK) else home.root / "cache"
