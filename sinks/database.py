"""`DATABASE_URL` in the forms that the drivers want, and the database's schema brought up to date."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from schemas.errors import BadInput

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).parent / "migrations"


def sqlalchemy_url(database_url: str) -> str:
    """The URL with psycopg2 named as the driver (SQLAlchemy 2.1 would take another one for plain `postgresql://`).

    >>> sqlalchemy_url("postgresql://me:secret@localhost:5432/trading")
    'postgresql+psycopg2://me:secret@localhost:5432/trading'
    """
    try:
        url = make_url(database_url)
    except ArgumentError as error:
        # The message must not repeat the URL: it holds the password.
        raise BadInput("DATABASE_URL: expected postgresql://user:password@host:port/name") from error
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise BadInput(f"DATABASE_URL: expected postgresql://…, found {url.get_backend_name()}://…")
    return url.set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)


def libpq_url(database_url: str) -> str:
    """The URL as libpq reads it.

    >>> libpq_url("postgresql+psycopg2://me@localhost/trading")
    'postgresql://me@localhost/trading'
    """
    return sqlalchemy_url(database_url).replace("postgresql+psycopg2://", "postgresql://", 1)


def open_engine(
    database_url: str, *, pool_size: int = 5, connect_timeout_s: int = 3, statement_timeout_ms: int = 30_000
) -> Engine:
    """A pooled engine for reading. Connections are checked before use, so a restarted Postgres is noticed by nobody."""
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
    """What the `alembic` commands of this package run with."""
    from alembic.config import Config

    config = Config(str(MIGRATIONS.parent / "alembic.ini"))
    # Alembic reads its options through configparser, where % begins an interpolation.
    config.set_main_option("sqlalchemy.url", sqlalchemy_url(database_url).replace("%", "%%"))
    return config


def migrate(database_url: str, revision: str = "head") -> None:
    """Bring the schema up to `revision`; a no-op where it is there already. Raises sqlalchemy.exc.OperationalError."""
    # Imported here: every dataflow imports this module and none migrates; Alembic is a third of their start.
    from alembic import command

    command.upgrade(alembic_config(database_url), revision)
