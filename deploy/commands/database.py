"""`init-db` and `migrate`: create and upgrade the database schema."""

import os
from typing import Annotated

import typer

from configs.recorded_endpoints import ADMIN
from deploy.home import home_from_environment


def register(app: typer.Typer) -> None:
    app.command("init-db", help="Create missing topics and tables on the running Kafka and PostgreSQL.")(init_db)
    app.command("migrate", help="Upgrade the database to the newest schema.")(migrate)


def init_db() -> None:
    from deploy.recovery.recorded_topics import platform_settings
    from deploy.supervisor.initialize import initialize
    from deploy.supervisor.service_addresses import use_running_services

    home = home_from_environment()
    home.create_folders()
    use_running_services(home)
    initialize(home, platform_settings(home, {}, principal=ADMIN))


def migrate(
    revision: Annotated[str, typer.Option(help="Schema revision to upgrade to.")] = "head",
) -> None:
    from deploy.supervisor.migrate import migrate as upgrade
    from deploy.supervisor.service_addresses import use_running_services

    if not os.environ.get("DATABASE_URL"):
        use_running_services(home_from_environment())
    upgrade(os.environ["DATABASE_URL"], revision)
    print(f"database schema is at revision {revision}")
