"""Where the state of one local platform lies: one folder, `PLATFORM_HOME` or `var/` in the repository."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import DeployError

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Home:
    """Paths under one state folder. Making a `Home` touches nothing; `create_folders` creates the folders."""

    root: Path

    @property
    def run(self) -> Path:
        """State of what runs now: state.json, the control socket, stats/NAME.json of each dataflow."""
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
        """Bytewax recovery stores, one folder a dataflow."""
        return self.root / "recovery"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def stats(self) -> Path:
        return self.run / "stats"

    @property
    def checks(self) -> Path:
        """The last result of each scheduled check, NAME.json."""
        return self.run / "checks"

    @property
    def state_file(self) -> Path:
        return self.run / "state.json"

    def create_folders(self) -> None:
        """Create the folders. Raises DeployError when the disk refuses."""
        try:
            for folder in (self.run, self.stats, self.logs, self.data, self.recovery):
                folder.mkdir(parents=True, exist_ok=True)
            self.secrets.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise DeployError(f"cannot create the state folder {self.root}: {error.strerror}") from error

    def secret(self, name: str) -> str:
        """The password `name`, generated at first use and kept in a file that only the owner reads."""
        path = self.secrets / name
        try:
            return path.read_text().strip()
        except FileNotFoundError:
            value = secrets.token_urlsafe(24)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(value + "\n")
            return value


def home_from_environment() -> Home:
    """The state folder that `PLATFORM_HOME` names, else `var/` in the repository."""
    return Home(Path(os.environ.get("PLATFORM_HOME") or REPOSITORY / "var").resolve())


def cache_folder(home: Home) -> Path:
    """Where verified downloads are kept: one folder a user, so that tests and every state folder share them.

    Falls back to the state folder when the user has no writable home.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "institutional-trading-platform"
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError:
        base = home.root / "cache"
        base.mkdir(parents=True, exist_ok=True)
    return base if os.access(base, os.W_OK) else home.root / "cache"
