"""Run Alembic migrations against the URL of `sinks.database.alembic_config`, else DATABASE_URL."""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import create_engine, pool, text

from schemas.errors import BadInput
from sinks.accounts import users
from sinks.alerts import alerts
from sinks.archived_partitions import archived_partitions
from sinks.audit_tables import chain
from sinks.database import sqlalchemy_url
from sinks.partitions import is_partition_name
from sinks.platform_identity import platform_identity

# Serializes migrations, because `start` and `init-db` may run at the same time.
MIGRATION_LOCK = 7_203_114_001


def run() -> None:
    url = context.config.get_main_option("sqlalchemy.url") or os.environ.get("DATABASE_URL")
    if not url:
        raise BadInput("DATABASE_URL is not set: expected postgresql://user:password@host:port/name")
    engine = create_engine(sqlalchemy_url(url), poolclass=pool.NullPool, connect_args={"connect_timeout": 5})
    with engine.connect() as connection:
        # All tables share one metadata; naming one of each module ensures that the modules are imported.
        metadata = chain.metadata
        assert users.metadata is alerts.metadata is platform_identity.metadata is metadata
        assert archived_partitions.metadata is metadata
        context.configure(
            connection=connection, target_metadata=metadata, compare_server_default=True, include_name=_is_compared
        )
        with context.begin_transaction():
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
            context.run_migrations()


def _is_compared(name: str | None, kind: str, _: object) -> bool:
    """Return whether `alembic check` compares an object of the database: everything except the partitions."""
    return kind != "table" or name is None or not is_partition_name(name)


run()
