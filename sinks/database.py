"""Convert `DATABASE_URL` for the drivers, open engines and migrate the schema."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import BadInput

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Engine

MIGRATIONS = Path(__file__).parent / "migrations"


def sqlalchemy_url(database_url: str) -> str:
    """Return the URL with psycopg2 as driver (SQLAlchemy 2.1 uses another one for plain `postgresql://`).

    >>> sqlalchemy_url("postgresql://me:secret@localhost:5432/trading")
    'postgresql+psycopg2://me:secret@localhost:5432/trading'
    """
    from sqlalchemy.engine import make_url  # here and below, because a dataflow process does not need it

    url = make_url(libpq_url(database_url))
    return url.set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)


def libpq_url(database_url: str) -> str:
    """Return the URL in libpq's form. Raises BadInput for anything but a URL of PostgreSQL.

    >>> libpq_url("postgresql+psycopg2://me@localhost/trading")
    'postgresql://me@localhost/trading'
    """
    match = re.match(r"(\w+)(\+\w+)?://", database_url)
    if match is None:
        # The message must not repeat the URL: it holds the password.
        raise BadInput("DATABASE_URL: expected postgresql://user:password@host:port/name")
    if match[1] not in ("postgresql", "postgres"):
        raise BadInput(f"DATABASE_URL: expected postgresql://…, found {match[1]}://…")
    return f"postgresql://{database_url[match.end() :]}"


def open_engine(
    database_url: str, *, pool_size: int = 5, connect_timeout_s: int = 3, statement_timeout_ms: int = 30_000
) -> Engine:
    """Return a pooled engine for reading. It checks connections before use, so a Postgres restart causes no errors."""
    from sqlalchemy import create_engine

    return create_engine(
        sqlalchemy_url(database_url),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=connect_timeout_s,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": connect_timeout_s,
            "options": f"-c statement_timeout={statement_timeout_ms} -c timezone=UTC",
        },
    )


def alembic_config(database_url: str) -> Config:
    """Return the configuration of this package's `alembic` commands."""
    from alembic.config import Config

    config = Config(str(MIGRATIONS.parent / "alembic.ini"))
    # Alembic reads its options with configparser, where % starts an interpolation.
    config.set_main_option("sqlalchemy.url", sqlalchemy_url(database_url).replace("%", "%%"))
    return config


def migrate(database_url: str, revision: str = "head") -> None:
    """Upgrade the schema to `revision`; a no-op if it is current.

    Raises alembic.util.CommandError or sqlalchemy.exc.SQLAlchemyError.
    """
    # Imported here: dataflows import this module but never migrate, and Alembic takes a third of their start time.
    from alembic import command

    command.upgrade(alembic_config(database_url), revision)
