"""Fixtures for real services. `python cli.py test` starts the services and passes their addresses to the tests.

A test that requests a missing service fails, because a skip would hide that nothing was tested.
"""

import gc
import logging
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest
import redis as redis_client
import structlog
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from psycopg2 import sql
from xdist.remote import Producer

from configs.env_file import ENV_FILE_VARIABLE, OFF
from deploy.home import Home
from deploy.local import redis as embedded_redis
from deploy.local.endpoints import Endpoints
from deploy.local.ports import Ports, free_ports
from deploy.local.stack import ServiceStack
from deploy.supervisor.migrate import migrate
from deploy.testing.pytest_run import TEMPORARY_SERVICES_VARIABLE
from operators.indicators import INDICATORS
from tests.scheduling import FilesAndPlatforms, start_with_platforms

os.environ[ENV_FILE_VARIABLE] = OFF
"""Whatever a developer has in a file `.env`, the tests see the same."""

# Both limits use wall-clock time, so other load on the machine could fail a test.
hypothesis_settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("tests")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run the tests that take minutes")


def pytest_configure(config: pytest.Config) -> None:
    # pytest-xdist starts the files with the most tests first by default. Use the order of collection instead.
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FilesAndPlatforms:
    return FilesAndPlatforms(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort the tests. Without --long, deselect the long tests; the closing line of pytest shows their number."""
    start_with_platforms(items)
    if config.getoption("--long"):
        return
    long = [item for item in items if item.get_closest_marker("long")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


def pytest_collection_finish() -> None:
    """Exclude the modules and the thousands of collected tests from garbage collections during the tests."""
    gc.freeze()


def _address(variable: str) -> str:
    value = os.environ.get(variable)
    # Use only the services that `cli.py test` started, because the tests drop databases. Never drop a developer's.
    if not value or "PLATFORM_TEST_HOME" not in os.environ:
        pytest.fail(f"this test needs the service of {variable}: run `python cli.py test`", pytrace=False)
    return value


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    """Undo `configs.logs.configure` after each test, so that no test sees the logging of an earlier one."""
    root, excepthook = logging.getLogger(), sys.excepthook
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    sys.excepthook = excepthook
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def restored_indicators() -> Iterator[None]:
    """Remove the indicators of a user that the test registers."""
    before = dict(INDICATORS)
    yield
    INDICATORS.clear()
    INDICATORS.update(before)


@pytest.fixture(scope="session")
def kafka() -> str:
    """Bootstrap servers of a real Kafka that all tests share. Use your own topic names."""
    return _address("KAFKA_BOOTSTRAP_SERVERS")


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real Redis that is emptied once. Use your own keys.

    Each test process except the first starts its own server, because database numbers do not separate channels.
    """
    url = _address("REDIS_URL")
    if os.environ.get("PYTEST_XDIST_WORKER", "gw0") != "gw0":
        home = Home(tmp_path_factory.mktemp("redis"))
        home.create_folders()
        embedded = embedded_redis.prepare(home, free_ports(1)[0])
        stack = ServiceStack(home, Ports.free(), Endpoints("", "", embedded.url, (embedded,)))
        try:
            stack.start_one("redis")
            yield embedded.url
        finally:
            stack.stop()
        return
    with redis_client.Redis.from_url(url) as client:
        client.flushall()
    yield url


@pytest.fixture(scope="session")
def platform_test_home() -> Path:
    """The temporary state folder of the services that the tests share."""
    return Path(_address("PLATFORM_TEST_HOME"))


@pytest.fixture(scope="session")
def make_database() -> Iterator[Callable[..., str]]:
    """A function that creates a new, migrated database and returns its URL. `durable=True`: commits wait for the disk.

    `copied_url`: the URL of a database to copy with its rows, to which nobody is connected.

    The fixture drops all at the end, except on a server that the run removes: each drop waits for the disk.
    """
    base = _address("DATABASE_URL")
    server = base.rsplit("/", 1)[0]
    suffix = uuid.uuid4().hex[:8]
    database_names: list[str] = []

    def create(template: str | None = None, *, durable: bool = False) -> str:
        name = f"test_{suffix}_{len(database_names)}"
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        _execute(base, statement)
        database_names.append(name)
        if not durable:
            # A commit does not wait for the disk. The tests never crash the server that they share.
            _execute(base, sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(sql.Identifier(name)))
        return name

    # Migrate one template and copy it: a copy takes a tenth of a second.
    template = create()
    migrate(f"{server}/{template}")

    def make(copied_url: str | None = None, *, durable: bool = False) -> str:
        copied = template if copied_url is None else copied_url.rsplit("/", 1)[1]
        return f"{server}/{create(copied, durable=durable)}"

    yield make
    if TEMPORARY_SERVICES_VARIABLE not in os.environ:
        for name in reversed(database_names):
            _drop_database(base, name)


@pytest.fixture(scope="module")
def database_url(make_database: Callable[..., str]) -> str:
    """A new, migrated PostgreSQL database for this test module (`postgresql://`, in the format of libpq)."""
    return make_database()


def _drop_database(base: str, name: str) -> None:
    """End the connections that tests left open, then drop the database.

    `DROP DATABASE … WITH (FORCE)` would also end autovacuum, which only a superuser may: it fails when the two meet. A
    plain `DROP DATABASE` makes autovacuum leave and waits for it.
    """
    own = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {} AND usename = current_user"
    _execute(base, sql.SQL(own).format(sql.Literal(name)))
    _execute(base, sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))


def _execute(url: str, statement: sql.Composable) -> None:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()
