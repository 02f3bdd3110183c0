"""`init-db` and `migrate`: the tables of the database."""

import os

import typer

from deploy.home import home_from_environment


def register(app: typer.Typer) -> None:
    app.command("init-db", help="Create the topics and tables that are missing, in the running services.")(init_db)
    app.command("migrate", help="Bring the database to the newest schema.")(migrate)


def init_db() -> None:
    from deploy.recovery.recorded_topics import platform_settings
    from deploy.supervisor.initialise import initialise
    from deploy.supervisor.service_addresses import use_running_services

    home = home_from_environment()
    home.create_folders()
    use_running_services(home)
    initialise(home, bootstrap=platform_settings(home, {}).kafka.cluster, database_url=os.environ["DATABASE_URL"])


def migrate(revision: str = "head") -> None:
    from deploy.supervisor.migrate import migrate as upgrade
    from deploy.supervisor.service_addresses import use_running_services

    if not os.environ.get("DATABASE_URL"):
        use_running_services(home_from_environment())
    print(upgrade(os.environ["DATABASE_URL"], revision) or f"the database is at {revision}")
