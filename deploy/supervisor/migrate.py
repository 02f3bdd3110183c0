"""Migrate a database to the newest schema with the Alembic migrations in `sinks/`."""

import os
import subprocess
import sys

from deploy.errors import DeployError
from deploy.home import REPOSITORY

ALEMBIC_INI = REPOSITORY / "sinks" / "alembic.ini"


def migrate(database_url: str, revision: str = "head") -> str:
    """Upgrade to `revision` and return Alembic's output. Raises DeployError with its last line if it fails."""
    command = [sys.executable, "-m", "alembic", "-c", str(ALEMBIC_INI), "upgrade", revision]
    environment = {**os.environ, "DATABASE_URL": database_url, "PYTHONPATH": str(REPOSITORY)}
    completed = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    lines = [line for line in (completed.stdout + completed.stderr).splitlines() if line.strip()]
    if completed.returncode != 0:
        raise DeployError(f"cannot migrate the database: {lines[-1] if lines else 'alembic printed no error'}")
    return "\n".join(lines)
