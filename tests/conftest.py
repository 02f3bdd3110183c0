"""Real services for the tests that ask for them. `python cli.py test` starts them and says where they are.

A test that asks for a service which is not there fails: a skip would hide that nothing was tested.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest
import redis as redis_client
from psycopg2 import sql

from configs.env_file import ENV_FILE_VARIABLE, OFF
from deploy.supervisor.migrate import ALEMBIC_INI, migrate

os.environ[ENV_FILE_VARIABLE] = OFF
"""Whatever a developer has in a file `.env`, the tests see the same."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run the tests that take minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without --long the long tests are deselected, which the closing line shows."""
    if config.getoption("--long"):
        return
    long = [item for item in items if item.get_closest_marker("long")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


def _address(variable: str) -> str:
    value = os.environ.get(variable)
    # Only the services that `cli.py test` started: a developer's own database must never be the one that is dropped.
    if not value or "PLATFORM_TEST_HOME" not in os.environ:
        pytest.fail(f"this test needs the service of {variable}: run `python cli.py test`", pytrace=False)
    return value


@pytest.fixture(scope="session")
def kafka() -> str:
    """Bootstrap servers of a real Kafka. Shared by all tests: use topic names of your own."""
    return _address("KAFKA_BOOTSTRAP_SERVERS")


@pytest.fixture(scope="session")
def redis_url() -> str:
    """A real Redis, emptied once; use keys of your own."""
    url = _address("REDIS_URL")
    with redis_client.Redis.from_url(url) as client:
        client.flushall()
    return url


@pytest.fixture(scope="session")
def platform_test_home() -> Path:
    """The temporary state folder of the services that the tests share."""
    return Path(_address("PLATFORM_TEST_HOME"))


@pytest.fixture(scope="session")
def make_database() -> Iterator[Callable[[], str]]:
    """Call it for a fresh, migrated database of its own; returns the URL. All are dropped at the end."""
    base = _address("DATABASE_URL")
    server = base.rsplit("/", 1)[0]
    suffix = uuid.uuid4().hex[:8]
    database_names: list[str] = []

    def create(template: str | None = None) -> str:
        name = f"test_{suffix}_{len(database_names)}"
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        _execute(base, statement)
        database_names.append(name)
        return name

    # Migrated once, then copied: a copy takes a tenth of a second.
    template = create()
    if ALEMBIC_INI.exists():
        migrate(f"{server}/{template}")
    yield lambda: f"{server}/{create(template)}"
    for name in reversed(database_names):
        _execute(base, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def database_url(make_database: Callable[[], str]) -> str:
    """A fresh, migrated PostgreSQL database for this test module (`postgresql://` as libpq reads it)."""
    return make_database()


def _execute(url: str, statement: sql.Composable) -> None:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()
