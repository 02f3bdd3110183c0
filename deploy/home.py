"""Paths of the state folder of one local platform: `PLATFORM_HOME`, or `var/` in the repository."""

import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from configs.recorded_endpoints import PASSWORDS_FOLDER
from deploy.errors import DeployError

REPOSITORY = Path(__file__).resolve().parents[1]
TEST_RUN_VARIABLE = "PLATFORM_TEST_RUN"
"""Set by `cli.py test` for all processes of a test run, so that it can end those that a test leaves running."""
PRIVATE_UMASK = 0o077
"""Processes that write to the state folder create files and folders that only their owner can access."""
_PUBLIC_PREFIXES = ("env-", "python", "node", "uv-", "cache")
"""Folders of downloaded software. PostgreSQL's programs are among it, and run as another user under root."""


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
    def checkpoints(self) -> Path:
        """Sealed checkpoints, one folder each, and in `parts` those that are not sealed yet."""
        return self.root / "checkpoints"

    @property
    def trial_ledger(self) -> Path:
        """The SQLite file with the trials of backtests."""
        return self.root / "trials.sqlite"

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
        """Create the folders, which only the owner can access. Raises DeployError if that fails."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for folder in (self.run, self.stats, self.logs, self.data, self.recovery, self.secrets):
                folder.mkdir(mode=0o700, exist_ok=True)
            self.close_to_others()
        except OSError as error:
            raise DeployError(f"cannot create the state folder {self.root}: {error.strerror}") from error

    def close_to_others(self) -> None:
        """Remove all rights of other users from the files and folders, also of an older release. Raises OSError.

        Under root, PostgreSQL runs as another user: the way to its data stays open for passing, not for listing.
        """
        passable = 0o011 if os.geteuid() == 0 else 0
        for path, status in self._own_entries():
            others = passable if path in (self.root, self.data) else 0
            mode = (stat.S_IMODE(status.st_mode) & 0o700) | others
            if mode != stat.S_IMODE(status.st_mode):
                path.chmod(mode)

    def _own_entries(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Yield the state folder and all of its entries, without software, links and what other users own."""
        root_status = self.root.stat()
        if root_status.st_uid == os.geteuid() and not root_status.st_mode & stat.S_ISVTX:
            yield self.root, root_status
        folders = [self.root]
        while folders:
            folder = folders.pop()
            for entry in os.scandir(folder):
                if folder == self.root and entry.name.startswith(_PUBLIC_PREFIXES):
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # a temporary file of a running process
                if status.st_uid != os.geteuid() or stat.S_ISLNK(status.st_mode):
                    continue
                yield Path(entry.path), status
                # A key in `secrets` that others could read is reported and not repaired: it must be replaced.
                if stat.S_ISDIR(status.st_mode) and Path(entry.path) != self.secrets:
                    folders.append(Path(entry.path))

    def kafka_password(self, principal: str) -> str:
        """Return the password of a principal of the embedded Kafka. It is generated at first use."""
        (self.secrets / PASSWORDS_FOLDER).mkdir(mode=0o700, exist_ok=True)
        return self.secret(f"{PASSWORDS_FOLDER}/{principal}")

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
