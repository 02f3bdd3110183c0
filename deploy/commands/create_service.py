"""`create-service`: a new dataflow, wired and tested, that reads bars."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from deploy.home import REPOSITORY
from deploy.service_template import create_service

Name = Annotated[str, typer.Argument(help="Of the dataflow, such as order_flow.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


def register(app: typer.Typer) -> None:
    app.command("create-service", help="Write a new dataflow: stage, wiring, entries and test.")(create)


def create(name: Name, as_json: AsJson = False) -> None:
    created = create_service(REPOSITORY, name)
    if as_json:
        print(json.dumps(created._asdict(), indent=2))
        return
    for path in created.new:
        print(f"new      {path}")
    for path in created.changed:
        print(f"changed  {path}")
    print("It reads bars, keeps their last closes and writes nothing. Next:")
    print(f"  python cli.py test {created.new[-1]}")
    print("  its output topic: docs/howto/topic.md; then `outputs` in dataflows/runtime/topology.py")
    print("  what it reads and decides: docs/howto/dataflow.md")
