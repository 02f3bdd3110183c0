"""Open the tables of a platform, running or not, for a command that reads them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from deploy.errors import DeployError
from deploy.home import Home

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from configs.settings import Settings


@contextmanager
def open_tables(home: Home) -> Iterator[tuple[Settings, Connection]]:
    """Yield the settings of the last start and a read-only connection that sees one state of the tables.

    Without DATABASE_URL, the services of the running platform are used. Raises BadInput for invalid settings and
    DeployError if PostgreSQL does not respond.
    """
    from sqlalchemy.exc import DBAPIError

    from deploy.recovery.recorded_topics import platform_settings
    from deploy.supervisor.service_addresses import use_running_services
    from sinks.database import open_engine

    if not os.environ.get("DATABASE_URL"):
        use_running_services(home)
    settings = platform_settings(home, {})
    engine = open_engine(settings.database.postgres.url)
    try:
        with engine.connect().execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True) as db:
            yield settings, db
    except DBAPIError as error:
        raise DeployError(
            f"cannot read the tables from PostgreSQL: {str(error.orig or error).strip().splitlines()[0]}"
        ) from error
    finally:
        engine.dispose()
