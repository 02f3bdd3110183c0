"""Migrate a database to the newest schema with the Alembic migrations in `sinks/`, and create partitions ahead."""

import time
from contextlib import closing

from deploy.errors import DeployError
from sinks import database


def has_newest_schema(database_url: str) -> bool:
    """Return whether the database needs no migration. Raises psycopg2.Error."""
    import psycopg2
    from alembic.script import ScriptDirectory

    newest = ScriptDirectory(str(database.MIGRATIONS)).get_current_head()
    with closing(psycopg2.connect(database.libpq_url(database_url), connect_timeout=5)) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT to_regclass('public.alembic_version') IS NOT NULL")
        if cursor.fetchone() != (True,):
            return False
        cursor.execute("SELECT version_num FROM public.alembic_version")
        return cursor.fetchone() == (newest,)


def migrate(database_url: str, revision: str = "head") -> None:
    """Upgrade to `revision`. Raises DeployError with the first line of the reason if that fails."""
    # Imported here, because loading both takes longer than most commands.
    from alembic.util import CommandError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        database.migrate(database_url, revision)
    except (CommandError, SQLAlchemyError) as error:
        reason = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
        raise DeployError(f"cannot migrate the database: {reason.splitlines()[0]}") from error


def create_next_partitions(database_url: str) -> list[str]:
    """Create the partitions of this month and the next ones. Return the names of the new ones. Raises DeployError."""
    import psycopg2

    from sinks.partitions import create_months_ahead

    try:
        with closing(psycopg2.connect(database.libpq_url(database_url), connect_timeout=5)) as connection:
            return create_months_ahead(connection, time.time_ns())
    except psycopg2.Error as error:
        raise DeployError(f"cannot create partitions: {(str(error).strip().splitlines() or [''])[0]}") from error
